//! Records, their parts and what they mean. They borrow from the log, and so they can be written only.

use alloc::vec::Vec;

use serde::{Serialize, Serializer};

use super::hexadecimal;
use crate::{
    BlockReference, Compression, Contents, DroppedStatistics, Element, Fork, Image, List, Lsn, PgMajor, Record,
    RecordHeader, RelFileLocator, ResourceManager, TimelineId,
};

impl Serialize for ResourceManager {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<T: Element + Serialize> Serialize for List<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl Serialize for DroppedStatistics<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

#[derive(Serialize)]
#[serde(remote = "RecordHeader")]
struct RecordHeaderShape {
    total_len: u32,
    xid: u32,
    prev: Lsn,
    info: u8,
    manager: ResourceManager,
    checksum: u32,
}

/// Its bytes are left out: [`Contents`] has what they are made of.
#[derive(Serialize)]
#[serde(remote = "Record")]
struct RecordShape<'a> {
    start: Lsn,
    end: Lsn,
    timeline: TimelineId,
    major: PgMajor,
    header: RecordHeader,
    #[serde(skip)]
    bytes: &'a [u8],
}

#[derive(Serialize)]
struct ContentsShape<'a> {
    blocks: Vec<BlockReference<'a>>,
    #[serde(serialize_with = "hexadecimal")]
    main_data: &'a [u8],
    origin: Option<u16>,
    top_level_xid: Option<u32>,
    image_len: usize,
}

#[derive(Serialize)]
#[serde(remote = "BlockReference")]
struct BlockReferenceShape<'a> {
    id: u8,
    relation: RelFileLocator,
    fork: Fork,
    block: u32,
    will_init: bool,
    image: Option<Image<'a>>,
    #[serde(serialize_with = "hexadecimal")]
    data: &'a [u8],
}

#[derive(Serialize)]
#[serde(remote = "Image")]
struct ImageShape<'a> {
    #[serde(serialize_with = "hexadecimal")]
    bytes: &'a [u8],
    compression: Compression,
    hole_offset: Option<u16>,
    hole_len: Option<u16>,
    apply: bool,
}

#[derive(Serialize)]
#[serde(remote = "Compression", rename_all = "snake_case")]
enum CompressionShape {
    None,
    Pglz,
    Lz4,
    Zstd,
}

macro_rules! as_shape {
    ($($type:ty: $shape:ident),+ $(,)?) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $shape::serialize(self, serializer)
            }
        }
    )+};
}

as_shape! {
    RecordHeader: RecordHeaderShape,
    Record<'_>: RecordShape,
    BlockReference<'_>: BlockReferenceShape,
    Image<'_>: ImageShape,
    Compression: CompressionShape,
}

impl Serialize for Contents<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let shape = ContentsShape {
            blocks: self.blocks().collect(),
            main_data: self.main_data(),
            origin: self.origin(),
            top_level_xid: self.top_level_xid(),
            image_len: self.image_len(),
        };
        shape.serialize(serializer)
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::string::String;

    use super::*;
    use crate::testing::WalBuilder;
    use crate::{Item, Payload, RecordReader, SegmentSize, Source};

    fn json(value: &impl Serialize) -> String {
        serde_json::to_string(value).unwrap()
    }

    #[test]
    fn a_record_its_contents_and_its_meaning_have_the_shapes_that_are_documented() {
        let mut wal = WalBuilder::new(WalBuilder::layout(SegmentSize::DEFAULT, 8192));
        let mut data = [7i64.to_ne_bytes().as_slice(), &[0; 64]].concat();
        data[8..11].copy_from_slice(b"caf");
        data[11] = 0xE9;
        wal.record(ResourceManager::XLOG, 0x70, &data);
        let mut reader = RecordReader::new(wal.start(), TimelineId::FIRST, SegmentSize::DEFAULT, Source::Open);
        let Ok(Some(Item::Record(record))) = reader.next(&mut wal.bytes()) else { panic!("no record") };
        let expected = [
            r#"{"start":"0/4000028","end":"0/4000090","timeline":1,"major":15,"header":{"total_len":98,"xid":0,"#,
            r#""prev":"0/3FFFFC0","info":112,"manager":"XLOG","checksum":"#,
        ];
        assert!(json(&record).starts_with(&expected.concat()), "{}", json(&record));
        let expected = r#"{"restore_point":{"at":7,"name":{"encoded":"636166e9"}}}"#;
        assert_eq!(json(&record.decode().unwrap()), expected);
        let contents = json(&record.contents().unwrap());
        assert!(contents.starts_with(r#"{"blocks":[],"main_data":"0700000000000000636166e900"#), "{contents}");
        assert!(contents.ends_with(r#"00","origin":null,"top_level_xid":null,"image_len":0}"#), "{contents}");
    }

    #[test]
    fn a_block_shows_its_bytes_as_digits() {
        let relation = RelFileLocator { tablespace: 1663, database: 5, number: 16384 };
        let image = Image {
            bytes: b"\x01\xAB",
            compression: Compression::Lz4,
            hole_offset: Some(40),
            hole_len: None,
            apply: true,
        };
        let block = BlockReference {
            id: 0,
            relation,
            fork: Fork::Main,
            block: 7,
            will_init: false,
            image: Some(image),
            data: b"\xFF",
        };
        let expected = [
            r#"{"id":0,"relation":{"tablespace":1663,"database":5,"number":16384},"fork":"main","block":7,"#,
            r#""will_init":false,"image":{"bytes":"01ab","compression":"lz4","hole_offset":40,"hole_len":null,"apply":true},"#,
            r#""data":"ff"}"#,
        ];
        assert_eq!(json(&block), expected.concat());
    }

    /// The name of an enum's variant: alone, or as the only key of a map.
    fn variant(payload: &Payload<'_>) -> String {
        match serde_json::to_value(payload).unwrap() {
            serde_json::Value::Object(map) => map.keys().next().unwrap().clone(),
            other => other.as_str().unwrap().into(),
        }
    }

    #[test]
    fn what_a_server_wrote_is_named_in_snake_case() {
        let mut segment = &include_bytes!("../../testdata/18/segment")[..];
        let header = crate::SegmentHeader::parse(segment).unwrap();
        let mut reader = RecordReader::new(header.page_address, header.timeline, header.segment_size, Source::Open);
        let mut variants = BTreeSet::new();
        while let Ok(Some(Item::Record(record))) = reader.next(&mut segment) {
            variants.insert(variant(&record.decode().unwrap()));
        }
        let expected = ["abort", "checkpoint", "commit", "other", "prepare", "restore_point", "rows", "storage_create"];
        assert!(expected.into_iter().all(|name| variants.contains(name)), "{variants:?}");
    }
}
