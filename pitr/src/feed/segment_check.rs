//! Whether what was fetched is the segment that was asked for, all of it.
//!
//! A segment that was mixed up with another one, cut short or damaged ends recovery as if it were the end of WAL, or worse.

use std::fs::File;
use std::io::{self, Read, Seek as _};

use barman_storage::{Dir, Operation, RelativePath};
use wal_format::{
    Damage, Item, PageHeaderError, RecordReader, SegmentHeader, SegmentHeaderError, SegmentName, SegmentSize, Source,
    Walk,
};

use super::FeedError;

/// Looks at a whole segment: its header and length, and, if `reads_records`, every record.
pub(super) fn check(name: &SegmentName, dir: &Dir, path: &RelativePath, reads_records: bool) -> Result<(), FeedError> {
    let mut file = dir.open_file(path)?;
    let failed = |error| barman_storage::Error::new(Operation::Read, path.as_path(), error);
    let found = file.metadata().map_err(failed)?.len();
    let mut head = Vec::new();
    file.by_ref().take(SegmentHeader::LEN as u64).read_to_end(&mut head).map_err(failed)?;
    let header = match SegmentHeader::parse(&head) {
        Ok(header) => header,
        // Of a version that is not known here: the server knows better.
        Err(SegmentHeaderError::Page(PageHeaderError::Magic(_))) if head.iter().any(|&byte| byte != 0) => return Ok(()),
        Err(source) => return Err(FeedError::NotWal { name: *name, source }),
    };
    let size = header.segment_size;
    header.check(name, None, size).map_err(|source| FeedError::Mismatch { name: *name, source })?;
    let expected = size.bytes();
    if found != expected {
        return Err(FeedError::Length { name: *name, expected, found });
    }
    if !reads_records {
        return Ok(());
    }
    file.rewind()
        .and_then(|()| first_damage(&file, name, size))
        .map_err(failed)?
        .map_or(Ok(()), |source| Err(FeedError::Damaged { name: *name, source: Box::new(source) }))
}

/// Reads every record that can be judged without the segments beside this one.
fn first_damage(mut file: &File, name: &SegmentName, size: SegmentSize) -> io::Result<Option<Damage>> {
    const BUFFER: usize = 256 * 1024;
    let Ok(start) = name.start(size) else { return Ok(None) };
    let mut reader = RecordReader::new(start, name.timeline, size, Source::Complete).with_walk(Walk::CHECKED);
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = file.read(&mut buffer)?;
        let Some(mut read @ [_, ..]) = buffer.get(..length) else { return Ok(reader.finish().err()) };
        if let Err(damage) = reader.for_each(&mut read, &mut |_: Item<'_>| ()) {
            return Ok(Some(damage));
        }
    }
}
