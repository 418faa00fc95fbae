//! What pg_waldump says about WAL, and the same from us.

use std::path::Path;
use std::process::Command;

use test_support::{CommandExt as _, pg_tool};
use wal_format::{
    BlockReference, Compression, DataPageHeader, DroppedStatistics, Fork, Image, ImageError, Item, List, Lsn, Payload,
    Record, RecordReader, RelFileLocator, RowChangeKind, SegmentHeader, SegmentName, SegmentNumber, SegmentSize,
    Source, TimelineId, Timestamp, TransactionEnd,
};

/// What both say about a record in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    manager: String,
    /// Without and with images of blocks.
    lengths: (u32, u32),
    xid: u32,
    pub(crate) lsn: Lsn,
    prev: Lsn,
}

/// A record as pg_waldump shows it.
pub(crate) struct Judged {
    line: Line,
    description: String,
}

/// A record as we read it: the description has to contain each of these texts.
pub(crate) struct Read {
    line: Line,
    texts: Vec<String>,
    /// The description ends so.
    blocks: String,
}

/// The records in `dir` from the beginning of `first` on, up to the end of WAL, as pg_waldump of `major` sees them.
pub(crate) fn judge(major: u32, dir: &Path, first: SegmentName, size: SegmentSize) -> Vec<Judged> {
    let mut command = Command::new(pg_tool(major, "pg_waldump"));
    command.env("TZ", "UTC").arg("-p").arg(dir);
    command.args(["-t", &first.timeline.to_string(), "-s", &first.start(size).unwrap().to_string()]);
    // It fails where WAL ends.
    let finished = command.finish();
    let judged = parse(&finished.stdout);
    assert!(!judged.is_empty(), "{command:?}: {}", finished.stderr);
    // Shown where a test fails.
    println!("{} records up to {}; {}", judged.len(), last(&judged), finished.stderr.trim());
    judged
}

/// The lines that pg_waldump printed.
pub(crate) fn parse(text: &str) -> Vec<Judged> {
    text.lines().map(parse_line).collect()
}

/// `rmgr: Heap  len (rec/tot):  54/  150, tx:  739, lsn: 0/014E1A88, prev 0/014E1A50, desc: INSERT off 1`
fn parse_line(line: &str) -> Judged {
    let parsed = || {
        let (numbers, description) = line.split_once(", desc: ")?;
        let (manager, numbers) = numbers.strip_prefix("rmgr: ")?.split_once("len (rec/tot):")?;
        let mut fields = numbers.split(", ");
        let (record_len, total_len) = fields.next()?.split_once('/')?;
        let xid = fields.next()?.strip_prefix("tx:")?;
        let lsn = fields.next()?.strip_prefix("lsn: ")?;
        let prev = fields.next()?.strip_prefix("prev ")?;
        let line = Line {
            manager: manager.trim().to_owned(),
            lengths: (record_len.trim().parse().ok()?, total_len.trim().parse().ok()?),
            xid: xid.trim().parse().ok()?,
            lsn: lsn.parse().ok()?,
            prev: prev.parse().ok()?,
        };
        Some(Judged { line, description: description.trim_end().to_owned() })
    };
    parsed().unwrap_or_else(|| panic!("pg_waldump says {line:?}"))
}

/// The records in `dir` from the beginning of `first` on, as we see them. Segments before the one that `last` lies in are
/// complete, and so have to be without damage.
pub(crate) fn read(dir: &Path, first: SegmentName, size: SegmentSize, last: Lsn) -> Vec<Read> {
    let timeline = first.timeline;
    let mut number = first.number(size).unwrap();
    let mut reader = RecordReader::new(number.start(size), timeline, size, Source::Complete);
    let mut records = Vec::new();
    loop {
        let is_last = number == SegmentNumber::containing(last, size);
        reader.begin_segment(timeline, if is_last { Source::Open } else { Source::Complete });
        let bytes = std::fs::read(dir.join(number.name(timeline, size).to_string())).unwrap();
        // Chunks of an odd size, so that they divide headers and records.
        for mut chunk in bytes.chunks(100_003) {
            while let Some(item) = reader.next(&mut chunk).unwrap_or_else(|damage| panic!("{damage}: {}", damage.kind))
            {
                match item {
                    Item::Record(record) => records.push(describe(&record)),
                    Item::Passed(passed) => panic!("passed {passed:?}"),
                    Item::Skipped(range) => panic!("skipped {range:?}"),
                    Item::End(_) => return records,
                }
            }
        }
        reader.finish().unwrap();
        if is_last {
            return records;
        }
        number = number.next();
    }
}

/// The records of one segment whose pages of zeros at the end may be missing, as we see them.
pub(crate) fn read_segment(bytes: &[u8], timeline: TimelineId) -> Vec<Read> {
    let header = SegmentHeader::parse(bytes).unwrap();
    let mut reader = RecordReader::new(header.page_address, timeline, header.segment_size, Source::Complete);
    let zeros = vec![0; header.segment_size.bytes() as usize - bytes.len()];
    let mut records = Vec::new();
    for mut part in [bytes, &zeros] {
        while let Some(item) = reader.next(&mut part).unwrap() {
            let Item::Record(record) = item else { panic!("{item:?}") };
            records.push(describe(&record));
        }
    }
    reader.finish().unwrap();
    records
}

/// Compares the two, record by record.
pub(crate) fn compare(read: &[Read], judged: &[Judged]) {
    for (ours, theirs) in read.iter().zip(judged) {
        assert_eq!(ours.line, theirs.line);
        for text in &ours.texts {
            assert!(theirs.description.contains(text), "{}: {text:?} in {:?}", ours.line.lsn, theirs.description);
        }
        let blocks = theirs.description.find("blkref #").map_or("", |at| &theirs.description[at..]);
        assert_eq!(blocks, ours.blocks, "{}", ours.line.lsn);
    }
    assert_eq!(read.len(), judged.len());
}

/// The position of the last of them.
pub(crate) fn last(judged: &[Judged]) -> Lsn {
    judged.last().unwrap().line.lsn
}

/// How many of the descriptions begin so.
pub(crate) fn count(judged: &[Judged], kind: &str) -> usize {
    judged.iter().filter(|judged| judged.description.starts_with(kind)).count()
}

fn describe(record: &Record<'_>) -> Read {
    let contents = record.contents().unwrap();
    let total = record.header.total_len;
    let line = Line {
        manager: record.header.manager.to_string(),
        lengths: (total - contents.image_len() as u32, total),
        xid: record.header.xid,
        lsn: record.start,
        prev: record.header.prev,
    };
    let payload = record.decode().unwrap_or_else(|error| panic!("{}: {error}", record.start));
    let texts = texts(&payload, record);
    contents.blocks().filter_map(|block| block.image).for_each(check_image);
    let blocks = contents.blocks().map(|block| block_text(&block)).collect::<Vec<_>>().join(", ");
    Read { line, texts, blocks }
}

/// Whether an image that we can restore makes a page.
fn check_image(image: Image<'_>) {
    let mut page = Vec::new();
    match image.restore(8192, &mut page) {
        Ok(()) => {
            let header = DataPageHeader::parse(&page).unwrap();
            assert_eq!(page.len(), 8192);
            assert!(header.is_new() || (header.page_len == 8192 && header.layout_version == 4), "{header:?}");
        }
        Err(ImageError::Unsupported { compression: Compression::Lz4 | Compression::Zstd }) => {}
        Err(error) => panic!("{error}"),
    }
}

fn block_text(block: &BlockReference<'_>) -> String {
    let fork = if block.fork == Fork::Main { String::new() } else { format!(" fork {}", block.fork) };
    let image = match block.image {
        Some(image) if image.apply => " FPW",
        Some(_) => " FPW for WAL verification",
        None => "",
    };
    format!("blkref #{}: rel {}{fork} blk {}{image}", block.id, block.relation, block.block)
}

/// What pg_waldump has to say about a record of a kind that we decode.
fn texts(payload: &Payload<'_>, record: &Record<'_>) -> Vec<String> {
    let text = match payload {
        Payload::Commit(end) => return end_texts(if end.prepared { "COMMIT_PREPARED" } else { "COMMIT" }, end),
        Payload::Abort(end) => return end_texts(if end.prepared { "ABORT_PREPARED" } else { "ABORT" }, end),
        Payload::Prepare(prepare) => {
            let gid = String::from_utf8_lossy(prepare.gid);
            let mut texts = vec![format!("PREPARE gid {gid}: {}", time(prepare.at))];
            texts.extend(relations("; rels(commit):", &prepare.dropped_on_commit));
            texts.extend(relations("; rels(abort):", &prepare.dropped_on_abort));
            texts.extend(statistics("commit ", &prepare.statistics_on_commit));
            texts.extend(statistics("abort ", &prepare.statistics_on_abort));
            texts.extend(subtransactions(&prepare.subxids));
            return texts;
        }
        Payload::Checkpoint(checkpoint) => return checkpoint_texts(checkpoint, record),
        Payload::CheckpointRedo { wal_level } => format!("wal_level {}", format!("{wal_level:?}").to_lowercase()),
        Payload::Assignment { top_level_xid, subxids } => {
            let xids: Vec<_> = subxids.iter().map(|xid| format!(" {xid}")).collect();
            format!("xtop {top_level_xid}: subxacts:{}", xids.concat())
        }
        Payload::Invalidations(messages) => return messages.iter().filter_map(|m| invalidation_text(&m)).collect(),
        Payload::EndOfRecovery(end) => {
            format!("tli {}; prev tli {}; time {}", end.timeline, end.previous_timeline, time(end.at))
        }
        Payload::RestorePoint(point) => format!("RESTORE_POINT {}", String::from_utf8_lossy(point.name)),
        Payload::Switch => "SWITCH".to_owned(),
        Payload::ParameterChange(change) => format!(
            "max_connections={} max_worker_processes={} max_wal_senders={} max_prepared_xacts={} max_locks_per_xact={} \
             wal_level={} wal_log_hints={} track_commit_timestamp={}",
            change.max_connections,
            change.max_worker_processes,
            change.max_wal_senders,
            change.max_prepared_transactions,
            change.max_locks_per_transaction,
            format!("{:?}", change.wal_level).to_lowercase(),
            on_off(change.wal_log_hints),
            on_off(change.track_commit_timestamp),
        ),
        Payload::BackupEnd { start_lsn } => return vec!["BACKUP_END".to_owned(), lsn(*start_lsn, record)],
        Payload::OverwriteContrecord(cut) => {
            return vec![
                "OVERWRITE_CONTRECORD".to_owned(),
                format!("lsn {}; time {}", lsn(cut.overwritten, record), time(cut.at)),
            ];
        }
        Payload::FullPageWrites { on } => format!("FPW_CHANGE {on}"),
        Payload::StorageCreate { relation, fork } => format!("CREATE {}", path(*relation, *fork)),
        Payload::StorageTruncate(cut) => {
            let flags = u8::from(cut.main) | u8::from(cut.visibility_map) << 1 | u8::from(cut.free_space_map) << 2;
            format!("TRUNCATE {} to {} blocks flags {flags}", path(cut.relation, Fork::Main), cut.blocks)
        }
        Payload::DatabaseCopy(copy) => format!(
            "copy dir {}/{} to {}/{}",
            copy.from.tablespace, copy.from.database, copy.to.tablespace, copy.to.database
        ),
        Payload::DatabaseCreate(created) => format!("create dir {}/{}", created.tablespace, created.database),
        Payload::DatabaseDrop(drop) => {
            let dirs: Vec<_> =
                drop.tablespaces.iter().map(|tablespace| format!(" {tablespace}/{}", drop.database)).collect();
            format!("dir{}", dirs.concat())
        }
        Payload::TablespaceCreate { tablespace, path } => {
            format!("CREATE {tablespace} \"{}\"", String::from_utf8_lossy(path))
        }
        Payload::TablespaceDrop { tablespace } => format!("DROP {tablespace}"),
        Payload::RelationMapUpdate(update) => {
            let (database, tablespace) = (update.directory.database, update.directory.tablespace);
            format!("database {database} tablespace {tablespace} size {}", update.map.len())
        }
        Payload::HeapTruncate(cut) => return cut.relations.iter().map(|oid| oid.to_string()).collect(),
        Payload::Rows(change) => return row_texts(change.kind, change.rows, record),
        _ => return Vec::new(),
    };
    vec![text]
}

fn end_texts(name: &str, end: &TransactionEnd<'_>) -> Vec<String> {
    let xid = if end.prepared { format!("{}: ", end.xid) } else { String::new() };
    let mut texts = vec![format!("{name} {xid}{}", time(end.at))];
    texts.extend(relations("; rels:", &end.dropped));
    texts.extend(statistics("", &end.dropped_statistics));
    texts.extend(subtransactions(&end.subxids));
    if !end.invalidations.is_empty() {
        let last = end.invalidations.iter().last().unwrap();
        texts.extend(invalidation_text(&last));
    }
    if end.drops_relcache_files {
        let (database, tablespace) = (end.database.unwrap_or(0), end.tablespace.unwrap_or(0));
        texts.push(format!("; relcache init file inval dbid {database} tsid {tablespace}"));
    }
    if end.must_sync {
        texts.push("; sync".to_owned());
    }
    texts
}

fn relations(label: &str, relations: &List<'_, RelFileLocator>) -> Option<String> {
    let paths: Vec<_> = relations.iter().map(|relation| format!(" {}", path(relation, Fork::Main))).collect();
    (!paths.is_empty()).then(|| format!("{label}{}", paths.concat()))
}

fn statistics(label: &str, dropped: &DroppedStatistics<'_>) -> Option<String> {
    let entry = |entry: wal_format::StatisticsEntry| format!(" {}/{}/{}", entry.kind, entry.database, entry.object);
    let entries: Vec<_> = dropped.iter().map(entry).collect();
    (!entries.is_empty()).then(|| format!("; {label}dropped stats:{}", entries.concat()))
}

fn subtransactions(subxids: &List<'_, u32>) -> Option<String> {
    let xids: Vec<_> = subxids.iter().map(|xid| format!(" {xid}")).collect();
    (!xids.is_empty()).then(|| format!("; subxacts:{}", xids.concat()))
}

fn invalidation_text(message: &wal_format::InvalidationMessage) -> Option<String> {
    use wal_format::InvalidationMessage as M;
    Some(match message {
        M::CatalogCache { cache, .. } => format!(" catcache {cache}"),
        M::Catalog { catalog, .. } => format!(" catalog {catalog}"),
        M::Relation { relation, .. } => format!(" relcache {relation}"),
        M::RelationMap { database } => format!(" relmap db {database}"),
        M::Snapshot { relation, .. } => format!(" snapshot {relation}"),
        _ => return None,
    })
}

fn checkpoint_texts(checkpoint: &wal_format::Checkpoint, record: &Record<'_>) -> Vec<String> {
    let c = checkpoint;
    let (epoch, xid) = (c.next_xid >> 32, c.next_xid as u32);
    let wal_level =
        c.wal_level.map_or(String::new(), |level| format!(" wal_level {};", format!("{level:?}").to_lowercase()));
    let decoding = c.logical_decoding.map_or(String::new(), |on| format!(" logical decoding {on};"));
    let timelines = format!("tli {}; prev tli {};", c.timeline, c.previous_timeline);
    vec![
        format!("redo {}; {timelines} fpw {};{wal_level}{decoding} xid", lsn(c.redo, record), c.full_page_writes),
        format!(
            "xid {epoch}:{xid}; oid {}; multi {}; offset {};",
            c.next_oid, c.next_multixact, c.next_multixact_offset
        ),
        format!("oldest xid {} in DB {};", c.oldest_xid, c.oldest_xid_database),
        format!("oldest multi {} in DB {};", c.oldest_multixact, c.oldest_multixact_database),
        format!(
            "oldest/newest commit timestamp xid: {}/{};",
            c.oldest_commit_timestamp_xid, c.newest_commit_timestamp_xid
        ),
        format!("oldest running xid {};", c.oldest_active_xid),
        if c.is_shutdown { "shutdown".to_owned() } else { "online".to_owned() },
    ]
}

fn row_texts(kind: RowChangeKind, rows: u16, record: &Record<'_>) -> Vec<String> {
    match kind {
        RowChangeKind::Insert if record.header.manager.name() == Some("Heap2") && record.major.number() < 16 => {
            vec!["MULTI_INSERT".to_owned(), format!("{rows} tuples")]
        }
        RowChangeKind::Insert if record.header.manager.name() == Some("Heap2") => {
            vec!["MULTI_INSERT".to_owned(), format!("ntuples: {rows}")]
        }
        RowChangeKind::Insert => vec!["INSERT".to_owned()],
        RowChangeKind::Update => vec!["UPDATE".to_owned()],
        RowChangeKind::Delete => vec!["DELETE".to_owned()],
    }
}

/// Versions differ in the padding of a position.
fn lsn(lsn: Lsn, record: &Record<'_>) -> String {
    let raw = lsn.as_u64();
    if record.major.number() < 19 { lsn.to_string() } else { format!("{:X}/{:08X}", raw >> 32, raw & 0xFFFF_FFFF) }
}

/// Only the end of it where a tablespace has a directory of its own, whose name has the catalog's version in it.
fn path(relation: RelFileLocator, fork: Fork) -> String {
    const DEFAULT: u32 = 1663;
    const GLOBAL: u32 = 1664;
    let suffix = if fork == Fork::Main { String::new() } else { format!("_{fork}") };
    let RelFileLocator { tablespace, database, number } = relation;
    match tablespace {
        DEFAULT => format!("base/{database}/{number}{suffix}"),
        GLOBAL => format!("global/{number}{suffix}"),
        _ => format!("pg_tblspc/{tablespace}/"),
    }
}

fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

/// As pg_waldump prints it where the time zone is UTC.
fn time(at: Timestamp) -> String {
    let micros = at.unix_micros();
    let (days, micros) = (micros.div_euclid(86_400_000_000), micros.rem_euclid(86_400_000_000));
    let (year, month, day) = civil(days);
    let seconds = micros / 1_000_000;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{:06} UTC", micros % 1_000_000)
}

/// The date of a day after 1970, counted one year and one month after the other: slow, and hard to get wrong.
fn civil(mut days: i64) -> (i64, i64, i64) {
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let mut year = 1970;
    while days >= 365 + i64::from(leap(year)) {
        days -= 365 + i64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + i64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

/// The first segment of `timeline` in `dir`, by name.
pub(crate) fn first_segment(dir: &Path, timeline: TimelineId) -> SegmentName {
    let entries = std::fs::read_dir(dir).unwrap();
    let names = entries.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<SegmentName>().ok());
    names.filter(|name| name.timeline == timeline).min().unwrap()
}
