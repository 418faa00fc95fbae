//! One record of any version with its checksum made right: its parts, its full-page images and its meaning.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wal_format::{Contents, Item, Lsn, PgMajor, RecordHeader, RecordReader, SegmentSize, Source, TimelineId, crc32c};

/// So long that every input fits in one page.
const BLOCK_SIZE: u32 = 65536;
const START: Lsn = Lsn::new(0x100_0000);

// The version, the resource manager, the info bits, and what follows the record's header.
fuzz_target!(|input: &[u8]| {
    let Some((&[major, manager, info], body)) = input.split_first_chunk() else { return };
    let major = PgMajor::ALL[usize::from(major) % PgMajor::ALL.len()];
    let page = page(major, manager, info, body);
    let mut reader = RecordReader::new(START, TimelineId::FIRST, SegmentSize::DEFAULT, Source::Open);
    // A resource manager may be unknown to the version, and the record longer than the page.
    let Ok(Some(Item::Record(record))) = reader.next(&mut page.as_slice()) else { return };
    assert_eq!(record.bytes().get(RecordHeader::LEN..), Some(body));
    if let Ok(contents) = record.contents() {
        check(&contents, body.len());
    }
    // Walks through every list.
    let _ = format!("{:?}", record.decode());
});

fn check(contents: &Contents<'_>, len: usize) {
    let blocks: Vec<_> = contents.blocks().collect();
    assert!(blocks.is_sorted_by(|before, after| before.id < after.id));
    let images: usize = blocks.iter().filter_map(|block| block.image).map(|image| image.bytes.len()).sum();
    assert_eq!(images, contents.image_len());
    let data: usize = blocks.iter().map(|block| block.data.len()).sum();
    assert!(images + data + contents.main_data().len() <= len);
    let mut restored = Vec::new();
    for image in blocks.iter().filter_map(|block| block.image) {
        if image.restore(8192, &mut restored).is_ok() {
            assert_eq!(restored.len(), 8192);
        }
    }
}

/// The first page of a segment, with one record.
fn page(major: PgMajor, manager: u8, info: u8, body: &[u8]) -> Vec<u8> {
    const LONG_HEADER: u16 = 2;
    let mut page = [major.wal_magic().to_ne_bytes(), LONG_HEADER.to_ne_bytes()].concat();
    page.extend(1u32.to_ne_bytes());
    page.extend(START.as_u64().to_ne_bytes());
    page.extend(0u64.to_ne_bytes());
    page.extend(7_710_327_062_147_215_790u64.to_ne_bytes());
    page.extend((16u32 << 20).to_ne_bytes());
    page.extend(BLOCK_SIZE.to_ne_bytes());
    let total_len = u32::try_from(RecordHeader::LEN + body.len()).expect("inputs are short");
    let mut header = [total_len, 0].map(u32::to_ne_bytes).concat();
    header.extend((START.as_u64() - 64).to_ne_bytes());
    header.extend([info, manager, 0, 0]);
    let checksum = crc32c(&[body, &header].concat());
    page.extend(header);
    page.extend(checksum.to_ne_bytes());
    page.extend(body);
    page
}
