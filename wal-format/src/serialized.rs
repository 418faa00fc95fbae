//! What values look like to serde: the crate's documentation lists the shapes.

mod record;

use alloc::string::{String, ToString as _};
use core::fmt::{self, Display};
use core::marker::PhantomData;
use core::str::FromStr;

use serde::de::{self, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::hex::Hex;
use crate::{
    Fork, Lsn, PgMajor, SegmentName, SegmentNumber, SegmentSize, SystemId, TimelineId, Timestamp, WalFileName,
    WalSummaryName,
};

/// Reads a value from text by its `FromStr`, wherever the text comes from.
fn from_text<'de, T, D>(deserializer: D, expected: &'static str) -> Result<T, D::Error>
where
    T: FromStr<Err: Display>,
    D: Deserializer<'de>,
{
    struct Text<T>(&'static str, PhantomData<T>);

    impl<T: FromStr<Err: Display>> Visitor<'_> for Text<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
    }

    deserializer.deserialize_str(Text(expected, PhantomData))
}

macro_rules! as_text {
    ($($type:ty: $expected:literal),+ $(,)?) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                from_text(deserializer, $expected)
            }
        }
    )+};
}

as_text! {
    Lsn: "a WAL position such as 16/B374D848",
    SystemId: "a system identifier as text",
    SegmentName: "the name of a WAL segment",
    WalFileName: "the name of a WAL file",
    WalSummaryName: "the name of a WAL summary",
}

#[cfg(feature = "std")]
as_text! { crate::ChecksumAlgorithm: "a checksum algorithm" }

macro_rules! as_number {
    ($($type:ty: $number:ty, $get:expr, $new:expr, $expected:literal);+ $(;)?) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let get: fn(Self) -> $number = $get;
                get(*self).serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let new: fn($number) -> Option<Self> = $new;
                let number = <$number>::deserialize(deserializer)?;
                let found = i64::try_from(number).map_or(Unexpected::Other("a large number"), Unexpected::Signed);
                new(number).ok_or_else(|| de::Error::invalid_value(found, &$expected))
            }
        }
    )+};
}

as_number! {
    TimelineId: u32, Self::get, Self::new, "a timeline, 1 or more";
    SegmentNumber: u64, Self::get, |number| Some(Self::new(number)), "the number of a segment";
    SegmentSize: u64, Self::bytes, Self::new, "a power of two from 1048576 to 1073741824";
    PgMajor: u32, Self::number, |number| Self::ALL.into_iter().find(|major| major.number() == number), "a major version, 13 to 19";
    Timestamp: i64, Self::pg_micros, |micros| Some(Self::from_pg_micros(micros)), "microseconds";
}

#[cfg(feature = "std")]
as_number! {
    crate::ManifestVersion: u32,
    |version| match version { Self::V1 => 1, Self::V2 => 2 },
    |number| match number { 1 => Some(Self::V1), 2 => Some(Self::V2), _ => None },
    "the version of a manifest, 1 or 2";
}

/// Bytes that PostgreSQL takes for text, in an encoding that they do not name.
struct Text<'a>(&'a [u8]);

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match str::from_utf8(self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => serializer.collect_map([("encoded", Hex(self.0).to_string())]),
        }
    }
}

pub(crate) fn text<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    Text(bytes).serialize(serializer)
}

pub(crate) fn optional_text<S: Serializer>(bytes: &Option<&[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
    bytes.map(Text).serialize(serializer)
}

pub(crate) fn hexadecimal<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Hex(bytes))
}

impl Serialize for Fork {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Fork {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let fork = (0..).map_while(Self::from_number).find(|fork| fork.name() == name);
        fork.ok_or_else(|| de::Error::invalid_value(Unexpected::Str(&name), &"main, fsm, vm or init"))
    }
}

#[cfg(feature = "std")]
mod checksum {
    use super::{Deserialize, Deserializer, Serialize, Serializer, String, Unexpected, de};
    use crate::hex::{self, Hex};
    use crate::{Checksum, ChecksumAlgorithm};

    #[derive(Serialize, Deserialize)]
    struct Shape {
        algorithm: ChecksumAlgorithm,
        digest: String,
    }

    impl Serialize for Checksum {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            Shape { algorithm: self.algorithm(), digest: Hex(self.bytes()).to_string() }.serialize(serializer)
        }
    }

    impl<'de> Deserialize<'de> for Checksum {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let Shape { algorithm, digest } = Shape::deserialize(deserializer)?;
            let checksum = hex::decode(digest.as_bytes()).and_then(|bytes| Self::new(algorithm, &bytes));
            let expected = "as many hexadecimal digits as the algorithm makes";
            checksum.ok_or_else(|| de::Error::invalid_value(Unexpected::Str(&digest), &expected))
        }
    }
}

/// Paths of manifests.
#[cfg(feature = "std")]
pub(crate) mod path {
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    use std::path::{Path, PathBuf};

    use super::{Deserialize, Deserializer, Serializer, String, Unexpected, de};
    use crate::hex;

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Shape {
        Plain(String),
        Encoded { encoded: String },
    }

    pub(crate) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        super::text(path.as_os_str().as_bytes(), serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        match Shape::deserialize(deserializer)? {
            Shape::Plain(path) => Ok(path.into()),
            Shape::Encoded { encoded } => match hex::decode(encoded.as_bytes()) {
                Some(bytes) => Ok(OsString::from_vec(bytes).into()),
                None => Err(de::Error::invalid_value(Unexpected::Str(&encoded), &"pairs of hexadecimal digits")),
            },
        }
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use core::fmt::Debug;

    use super::*;
    use crate::{
        BackupLabel, Checksum, ChecksumAlgorithm, ControlFile, Manifest, RelFileLocator, TablespaceMap, TimelineHistory,
    };

    fn round_trip<T: Serialize + de::DeserializeOwned + PartialEq + Debug>(value: &T) -> String {
        let json = serde_json::to_string(value).unwrap();
        assert_eq!(&serde_json::from_str::<T>(&json).unwrap(), value);
        json
    }

    #[test]
    fn values_have_the_shapes_that_are_documented() {
        let checksum = Checksum::new(ChecksumAlgorithm::Crc32c, &[0x8a, 0x74, 0x47, 0x22]).unwrap();
        for (json, expected) in [
            (round_trip(&Lsn::new(0x16_B374_D848)), r#""16/B374D848""#),
            (round_trip(&SystemId::new(u64::MAX)), r#""18446744073709551615""#),
            (round_trip(&"00000002000000AB000000CD".parse::<SegmentName>().unwrap()), r#""00000002000000AB000000CD""#),
            (round_trip(&"00000003.history".parse::<WalFileName>().unwrap()), r#""00000003.history""#),
            (round_trip(&ChecksumAlgorithm::Sha224), r#""SHA224""#),
            (round_trip(&Fork::VisibilityMap), r#""vm""#),
            (round_trip(&TimelineId::new(7).unwrap()), "7"),
            (round_trip(&SegmentNumber::new(u64::MAX)), "18446744073709551615"),
            (round_trip(&SegmentSize::DEFAULT), "16777216"),
            (round_trip(&PgMajor::V18), "18"),
            (round_trip(&Timestamp::from_pg_micros(i64::MIN)), "-9223372036854775808"),
            (round_trip(&checksum), r#"{"algorithm":"CRC32C","digest":"8a744722"}"#),
            (
                round_trip(&RelFileLocator { tablespace: 1663, database: 5, number: 16384 }),
                r#"{"tablespace":1663,"database":5,"number":16384}"#,
            ),
        ] {
            assert_eq!(json, expected);
        }
    }

    #[test]
    fn what_no_server_writes_is_not_read() {
        assert!(serde_json::from_str::<TimelineId>("0").is_err());
        assert!(serde_json::from_str::<SegmentSize>("3145728").is_err());
        assert!(serde_json::from_str::<PgMajor>("12").is_err());
        assert!(serde_json::from_str::<Lsn>(r#""16""#).is_err());
        assert!(serde_json::from_str::<Fork>(r#""heap""#).is_err());
        assert!(serde_json::from_str::<Checksum>(r#"{"algorithm":"CRC32C","digest":"8a"}"#).is_err());
    }

    #[test]
    fn files_beside_wal_survive() {
        let control = ControlFile::parse(include_bytes!("../testdata/15/pg_control"), PgMajor::V15).unwrap();
        assert!(round_trip(&control).contains(r#""state":"shut_down""#));
        let label = BackupLabel::parse(include_str!("../testdata/18/backup_label.incremental")).unwrap();
        assert!(round_trip(&label).contains(r#""method":"streamed""#));
        let map = TablespaceMap::parse(include_bytes!("../testdata/15/tablespace_map")).unwrap();
        assert!(round_trip(&map).starts_with(r#"{"entries":[{"oid":16384,"location":"#));
        let history =
            TimelineHistory::parse(TimelineId::new(3).unwrap(), include_bytes!("../testdata/15/00000003.history"))
                .unwrap();
        assert!(round_trip(&history).starts_with(r#"{"timeline":3,"entries":[{"parent":1,"#));
        for text in
            [&include_bytes!("../testdata/15/backup_manifest")[..], include_bytes!("../testdata/19/backup_manifest")]
        {
            assert!(round_trip(&Manifest::parse(text).unwrap()).contains(r#""path":{"encoded":"636166e9"}"#));
        }
    }
}
