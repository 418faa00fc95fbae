//! Says whether a WAL segment is whole: `verify_segment FILE`.
//!
//! A whole segment holds records up to its end, or one that ends it early and zeros behind it. A live one, a `.partial`
//! one and the last of a timeline are not whole; for those there is `Source::Open`.

use std::error::Error;
use std::path::Path;

use wal_format::{Item, RecordReader, SegmentHeader, SegmentName, Source};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: verify_segment FILE")?;
    let wal = std::fs::read(&path)?;
    let name: SegmentName = file_name(Path::new(&path)).parse()?;

    let header = SegmentHeader::parse(&wal)?;
    header.check(&name, None, header.segment_size)?;
    if wal.len() as u64 != header.segment_size.bytes() {
        return Err(format!("the file has {} bytes, expected {}", wal.len(), header.segment_size).into());
    }

    let start = name.start(header.segment_size)?;
    let mut reader = RecordReader::new(start, name.timeline, header.segment_size, Source::Complete);
    let mut input = wal.as_slice();
    let mut records = 0;
    while let Some(item) = reader.next(&mut input)? {
        records += u64::from(matches!(item, Item::Record(_)));
    }
    println!("{name} of cluster {}: {records} records, all as they were written", header.system_id);
    Ok(())
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}
