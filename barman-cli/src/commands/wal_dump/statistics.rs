//! How many records there are, and how long: the table of `pg_waldump --stats`.

use super::{Printer, Target, flush};
use std::collections::BTreeMap;
use std::io::{self, Write};
use wal_format::{Lsn, Record, ResourceManager};

/// Counts records by resource manager.
pub(super) struct Statistics {
    target: Target,
    counts: BTreeMap<ResourceManager, Counts>,
    /// Where the first record begins, and where the last one ends.
    range: Option<(Lsn, Lsn)>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    records: u64,
    /// Bytes of records, without images of pages.
    record_bytes: u64,
    image_bytes: u64,
}

impl Statistics {
    pub(super) fn new(target: Target) -> Self {
        // Those of PostgreSQL itself are listed in any case.
        let built_in = (0..=u8::MAX).map(ResourceManager::new).filter(|manager| manager.name().is_some());
        Self { target, counts: built_in.map(|manager| (manager, Counts::default())).collect(), range: None }
    }

    fn write_table(&mut self) -> io::Result<()> {
        let Some((first, last)) = self.range else { return Ok(()) };
        writeln!(self.target, "WAL statistics between {first} and {last}:")?;
        let titles = ["Type", "N", "(%)", "Record size", "(%)", "FPI size", "(%)", "Combined size", "(%)"];
        self.write_titles(titles.map(str::to_owned))?;
        self.write_titles(titles.map(|title| "-".repeat(title.len())))?;
        let total = self.counts.values().fold(Counts::default(), |sum, counts| Counts {
            records: sum.records + counts.records,
            record_bytes: sum.record_bytes + counts.record_bytes,
            image_bytes: sum.image_bytes + counts.image_bytes,
        });
        for (manager, counts) in &self.counts {
            write_row(&mut self.target, &manager.to_string(), counts, &total)?;
        }
        self.write_total(&total)
    }

    fn write_titles(&mut self, titles: [String; 9]) -> io::Result<()> {
        let [kind, n, n_share, record, record_share, image, image_share, both, both_share] = titles;
        writeln!(
            self.target,
            "{kind:<27} {n:>20} {n_share:>8} {record:>20} {record_share:>8} {image:>20} {image_share:>8} {both:>20} {both_share:>8}"
        )
    }

    fn write_total(&mut self, total: &Counts) -> io::Result<()> {
        let line = "-".repeat(8);
        writeln!(self.target, "{:<27} {line:>20} {:8} {line:>20} {:8} {line:>20} {:8} {line:>20}", "", "", "", "")?;
        let Counts { records, record_bytes, image_bytes } = *total;
        let all = total.bytes();
        let share = |part| format!("[{:.2}%]", percent(part, all));
        writeln!(
            self.target,
            "{:<27} {records:>20} {:8} {record_bytes:>20} {:<8} {image_bytes:>20} {:<8} {all:>20} {:<6}",
            "Total",
            "",
            share(record_bytes),
            share(image_bytes),
            "[100%]",
        )
    }
}

impl Printer for Statistics {
    fn record(&mut self, record: &Record<'_>) -> io::Result<()> {
        let images = record.contents().map_or(0, |contents| contents.image_len() as u64);
        let counts = self.counts.entry(record.header.manager).or_default();
        counts.records += 1;
        counts.image_bytes += images;
        counts.record_bytes += u64::from(record.header.total_len).saturating_sub(images);
        self.range = Some((self.range.map_or(record.start, |(first, _)| first), record.end));
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.write_table()?;
        flush(&mut self.target)
    }
}

impl Counts {
    fn bytes(&self) -> u64 {
        self.record_bytes + self.image_bytes
    }
}

fn write_row(target: &mut impl Write, name: &str, counts: &Counts, total: &Counts) -> io::Result<()> {
    let columns = [
        (counts.records, total.records),
        (counts.record_bytes, total.record_bytes),
        (counts.image_bytes, total.image_bytes),
        (counts.bytes(), total.bytes()),
    ];
    write!(target, "{name:<27}")?;
    for (part, whole) in columns {
        write!(target, " {part:>20} ({:>6.2})", percent(part, whole))?;
    }
    writeln!(target)
}

#[allow(clippy::cast_precision_loss, reason = "two digits are shown")]
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}
