//! Records as lines, as `pg_waldump` prints them.

use super::description::describe;
use super::{Printer, Target, flush};
use jiff::tz::TimeZone;
use std::io::{self, Write};
use wal_format::{BlockReference, Contents, Fork, Lsn, Record};

/// Prints a line for each record.
pub(super) struct TextLines {
    target: Target,
    zone: TimeZone,
    /// The line that is being made.
    line: Line,
}

impl TextLines {
    /// Times are printed in `zone`.
    pub(super) fn new(target: Target, zone: TimeZone) -> Self {
        Self { target, zone, line: Line::default() }
    }
}

impl Printer for TextLines {
    fn record(&mut self, record: &Record<'_>) -> io::Result<()> {
        self.line.0.clear();
        write_line(&mut self.line, record, &self.zone);
        self.target.write_all(&self.line.0)
    }

    fn finish(&mut self) -> io::Result<()> {
        flush(&mut self.target)
    }
}

/// `rmgr: Heap        len (rec/tot):     54/   150, tx:        739, lsn: 0/014E1A88, prev 0/014E1A50, desc: INSERT `
fn write_line(line: &mut Line, record: &Record<'_>, zone: &TimeZone) {
    let header = record.header;
    // A manager can write what is not laid out as its records are: then the line says no more than the header does.
    let contents = record.contents().ok();
    let images = contents.map_or(0, |contents| contents.image_len());
    line.text("rmgr: ");
    match header.manager.name() {
        Some(name) => line.left_aligned(name, 11),
        None => line.left_aligned(&header.manager.to_string(), 11),
    }
    line.text(" len (rec/tot): ");
    line.number((header.total_len as u64).saturating_sub(images as u64), 6);
    line.text("/");
    line.number(header.total_len.into(), 6);
    line.text(", tx: ");
    line.number(header.xid.into(), 10);
    line.text(", lsn: ");
    line.position(record.start);
    line.text(", prev ");
    line.position(header.prev);
    line.text(", desc: ");
    match record.name() {
        Some(name) => line.text(name),
        None => line.text(&format!("UNKNOWN ({:x})", header.kind())),
    }
    line.text(" ");
    describe(line, record, zone);
    for block in contents.iter().flat_map(Contents::blocks) {
        write_block(line, &block);
    }
    line.text("\n");
}

/// `, blkref #0: rel 1663/5/16384 fork vm blk 0 FPW`
fn write_block(line: &mut Line, block: &BlockReference<'_>) {
    line.text(", blkref #");
    line.number(block.id.into(), 0);
    line.text(": rel ");
    line.number(block.relation.tablespace.into(), 0);
    line.text("/");
    line.number(block.relation.database.into(), 0);
    line.text("/");
    line.number(block.relation.number.into(), 0);
    if block.fork != Fork::Main {
        line.text(" fork ");
        line.text(block.fork.name());
    }
    line.text(" blk ");
    line.number(block.block.into(), 0);
    match block.image {
        Some(image) if image.apply => line.text(" FPW"),
        Some(_) => line.text(" FPW for WAL verification"),
        None => {}
    }
}

/// Text that grows. There is a line for every few dozen bytes of WAL: what each of them has is put together by hand, which
/// takes a fifth of the time that formatting strings take.
#[derive(Debug, Default)]
pub(super) struct Line(Vec<u8>);

impl Line {
    pub(super) fn text(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    /// Adds bytes in whatever encoding they have.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Adds a number in decimal digits, aligned to the right.
    pub(super) fn number(&mut self, number: u64, width: usize) {
        self.digits::<10>(number, width, b' ');
    }

    /// Adds a position as in file names: eight digits behind the slash.
    pub(super) fn position(&mut self, lsn: Lsn) {
        self.digits::<16>(lsn.as_u64() >> 32, 0, b'0');
        self.text("/");
        self.digits::<16>(lsn.as_u64() & 0xFFFF_FFFF, 8, b'0');
    }

    fn left_aligned(&mut self, text: &str, width: usize) {
        self.text(text);
        let padding = width.saturating_sub(text.len());
        self.0.extend(std::iter::repeat_n(b' ', padding));
    }

    fn digits<const BASE: u64>(&mut self, mut number: u64, width: usize, fill: u8) {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        let mut digits = [fill; 20];
        let mut first = digits.len();
        for digit in digits.iter_mut().rev() {
            *digit = DIGITS.get((number % BASE) as usize).copied().unwrap_or_default();
            first -= 1;
            number /= BASE;
            if number == 0 {
                break;
            }
        }
        let first = first.min(digits.len().saturating_sub(width));
        self.bytes(digits.get(first..).unwrap_or_default());
    }
}

/// For what is rare.
impl std::fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.text(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_padded_as_printf_pads_them() {
        let shown = |fill: &dyn Fn(&mut Line)| {
            let mut line = Line::default();
            fill(&mut line);
            String::from_utf8(line.0).expect("text")
        };
        for number in [0, 7, 10, 999, 123_456, 1_234_567, u64::from(u32::MAX), u64::MAX] {
            for width in [0, 1, 6, 10] {
                assert_eq!(shown(&|line| line.number(number, width)), format!("{number:width$}"));
            }
        }
        for lsn in [0, 0x28, 0xA_0000_0028, u64::MAX] {
            let expected = format!("{:X}/{:08X}", lsn >> 32, lsn & 0xFFFF_FFFF);
            assert_eq!(shown(&|line| line.position(Lsn::new(lsn))), expected);
        }
        assert_eq!(shown(&|line| line.left_aligned("Heap", 6)), "Heap  ");
        assert_eq!(shown(&|line| line.left_aligned("ReplicationOrigin", 6)), "ReplicationOrigin");
    }
}
