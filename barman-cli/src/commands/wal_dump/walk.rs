//! From file to file and from record to record.

use super::Printer;
use super::input::{Input, unreadable};
use super::selection::Selection;
use crate::output::Output;
use barman_server::one_line;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use wal_format::{Damage, DamageKind, End, Item, PageHeaderError, RecordReader, SegmentHeader, Source};

/// Printing failed; everything else that can go wrong is reported, and reading goes on.
#[derive(Debug)]
pub(super) struct WriteError(pub(super) io::Error);

/// Reads files in order and hands their records to a printer.
pub(super) struct Walker<'a> {
    output: &'a Output,
    selection: Selection,
    printer: &'a mut dyn Printer,
    /// What was read last, and the header of its last segment.
    reader: Option<(RecordReader, SegmentHeader)>,
}

impl<'a> Walker<'a> {
    pub(super) fn new(output: &'a Output, selection: Selection, printer: &'a mut dyn Printer) -> Self {
        Self { output, selection, printer, reader: None }
    }

    pub(super) fn walk(&mut self, files: &[PathBuf]) -> Result<(), WriteError> {
        for (index, path) in files.iter().enumerate() {
            match Input::open(path) {
                Ok(input) => {
                    let is_last = index + 1 == files.len();
                    if self.file(path, input, is_last)? {
                        return Ok(());
                    }
                }
                Err(error) => {
                    error.report(self.output);
                    self.end_sequence();
                }
            }
        }
        self.end_sequence();
        Ok(())
    }

    /// Reads one file; returns whether nothing after it is wanted.
    fn file(&mut self, path: &Path, input: Input, is_last: bool) -> Result<bool, WriteError> {
        let input = self.checked(path, input);
        let timeline = input.timeline();
        let Input { header, is_partial, mut contents, .. } = input;
        // What PostgreSQL or a receiver still writes to is at the end of any list of files.
        let source = if is_partial || is_last { Source::Open } else { Source::Complete };
        if self.reader.as_ref().is_some_and(|(reader, last)| !is_neighbour(reader, last, &header)) {
            self.end_sequence();
        }
        let mut reader = match self.reader.take() {
            Some((reader, _)) => reader,
            None => RecordReader::new(header.page_address, timeline, header.segment_size, source),
        };
        reader.begin_segment(timeline, source);
        let mut buffer = vec![0; 1 << 18];
        loop {
            let len = match contents.read(&mut buffer) {
                Ok(0) => break,
                Ok(len) => len,
                Err(error) => {
                    unreadable(path, &error).report(self.output);
                    return Ok(false);
                }
            };
            match self.records(path, &mut reader, buffer.get(..len).unwrap_or_default())? {
                Onward::More => {}
                Onward::NextFile => return Ok(false),
                Onward::Nothing => return Ok(true),
            }
        }
        self.reader = Some((reader, header));
        Ok(false)
    }

    /// Says so if a file is not what it is called. It is read for what it is.
    fn checked(&self, path: &Path, input: Input) -> Input {
        let checked = input.name.map(|name| input.header.check(&name, None, input.header.segment_size));
        if let Some(Err(mismatch)) = checked {
            self.output.error(&format!("{} is not what it is called: {}", path.display(), one_line(&mismatch)));
            return Input { name: None, ..input };
        }
        input
    }

    fn records(&mut self, path: &Path, reader: &mut RecordReader, mut bytes: &[u8]) -> Result<Onward, WriteError> {
        loop {
            match reader.next(&mut bytes) {
                Ok(Some(Item::Record(record))) => {
                    if self.selection.is_past(record.start) {
                        return Ok(Onward::Nothing);
                    }
                    if self.selection.includes(&record) {
                        self.printer.record(&record).map_err(WriteError)?;
                    }
                }
                Ok(Some(Item::Skipped(range))) => self.output.error(&format!(
                    "{}: nothing could be read from {} to {}",
                    path.display(),
                    range.start,
                    range.end
                )),
                Ok(Some(Item::End(end))) => {
                    self.ended(path, end);
                    return Ok(Onward::NextFile);
                }
                Ok(Some(_)) => {}
                Ok(None) => return Ok(Onward::More),
                Err(damage) => self.damaged(path, &damage),
            }
        }
    }

    /// Reports how an open file ends, if it is not how they usually do.
    fn ended(&self, path: &Path, end: End) {
        if !is_usual(end) {
            let End { at, reason } = end;
            self.output.error(&format!("{}: WAL ends at {at}: {}", path.display(), one_line(&reason)));
        }
    }

    fn damaged(&self, path: &Path, damage: &Damage) {
        self.output.error(&format!("{}: {}", path.display(), one_line(damage)));
    }

    /// Notices what is missing behind the last file that was read, now that nothing continues it.
    fn end_sequence(&mut self) {
        if let Some(Err(damage)) = self.reader.take().map(|(reader, _)| reader.finish()) {
            self.output.error(&one_line(&damage));
        }
    }
}

/// How a reader goes on.
enum Onward {
    More,
    NextFile,
    Nothing,
}

fn is_neighbour(reader: &RecordReader, last: &SegmentHeader, header: &SegmentHeader) -> bool {
    reader.position() == header.page_address && last.layout() == header.layout()
}

/// Zeros, and what an older segment left in a file that was used again.
fn is_usual(End { at, reason }: End) -> bool {
    match reason {
        DamageKind::RecordLength { found } => found == 0,
        DamageKind::PageHeader(PageHeaderError::Magic(unknown)) => unknown.magic == 0,
        DamageKind::PageAddress { found, .. } | DamageKind::PrevLink { found, .. } => found < at,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wal_format::Lsn;

    #[test]
    fn zeros_and_older_wal_are_the_usual_end() {
        let at = |reason| End { at: Lsn::new(0x500_0000), reason };
        assert!(is_usual(at(DamageKind::RecordLength { found: 0 })));
        let (expected, found) = (Lsn::new(0x500_0000), Lsn::new(0x100_0000));
        assert!(is_usual(at(DamageKind::PageAddress { expected, found })));
        assert!(!is_usual(at(DamageKind::PageAddress { expected: found, found: Lsn::new(0x600_0000) })));
        assert!(!is_usual(at(DamageKind::RecordLength { found: 7 })));
        assert!(!is_usual(at(DamageKind::RecordChecksum { found: 1, computed: 2 })));
    }
}
