//! Major versions of PostgreSQL, and the one table of what differs between them.

use core::fmt;

use crate::Compression;

/// A major version that this crate can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names say it all")]
pub enum PgMajor {
    V13,
    V14,
    V15,
    V16,
    V17,
    V18,
    V19,
}

/// What is particular to one major version.
#[derive(Clone, Copy)]
pub(crate) struct Facts {
    /// The number before the point.
    number: u32,
    /// `XLOG_PAGE_MAGIC` of `access/xlog_internal.h`, as released servers of the version write it.
    wal_magic: u16,
    /// `PG_CONTROL_VERSION` of `catalog/pg_control.h`.
    pub(crate) control_version: u32,
    /// Whether `ControlFileData` has `default_char_signedness`.
    pub(crate) control_has_char_signedness: bool,
    /// Whether it has `slru_pages_per_segment` and `data_checksum_version_init`.
    pub(crate) control_has_initial_checksums: bool,
    /// Whether extensions can have resource managers (`access/rmgr.h`).
    pub(crate) custom_resource_managers: bool,
    /// Whether a page can say that a backup needs none of its images (`XLP_BKP_REMOVABLE`, `access/xlog_internal.h`). In
    /// versions without that flag its bit stands for `XLP_FIRST_IS_OVERWRITE_CONTRECORD`.
    pub(crate) pages_have_removable_images: bool,
    /// What the bits of `bimg_info` mean (`access/xlogrecord.h`).
    pub(crate) image_flags: ImageFlags,
    /// Whether `CheckPoint` has `wal_level` in what was padding before (`catalog/pg_control.h`).
    pub(crate) checkpoint_has_wal_level: bool,
    /// Whether `CheckPoint` has `logicalDecodingEnabled`, and multixact offsets have 64 bits.
    pub(crate) checkpoint_is_wide: bool,
    /// Whether `xl_end_of_recovery` has `wal_level` (`access/xlog_internal.h`).
    pub(crate) end_of_recovery_has_wal_level: bool,
    /// Whether a database can be created block by block, which moved the other records of the resource manager
    /// (`commands/dbcommands_xlog.h`).
    pub(crate) creates_databases_by_wal: bool,
    /// How long an entry of dropped statistics is in the end of a transaction, in bytes (`xl_xact_stats_item`); `None`
    /// before there were any.
    pub(crate) statistics_len: Option<usize>,
    /// How many entries a relation map has room for (`MAX_MAPPINGS`, `utils/cache/relmapper.c`).
    pub(crate) relation_map_entries: usize,
    /// How many bytes of `pg_class` lie between `reltablespace` and `reltoastrelid`.
    pub(crate) class_statistics_len: usize,
    /// How many bytes of `pg_database` lie between `datname` and `datconnlimit`, and between that and `dattablespace`.
    pub(crate) database_limit_between: (usize, usize),
}

const V13: Facts = Facts {
    number: 13,
    wal_magic: 0xD106,
    control_version: 1300,
    control_has_char_signedness: false,
    control_has_initial_checksums: false,
    custom_resource_managers: false,
    pages_have_removable_images: true,
    image_flags: ImageFlags { apply: 0x04, pglz: 0x02, lz4: 0, zstd: 0 },
    checkpoint_has_wal_level: false,
    checkpoint_is_wide: false,
    end_of_recovery_has_wal_level: false,
    creates_databases_by_wal: false,
    statistics_len: None,
    relation_map_entries: 62,
    // relpages, reltuples, relallvisible.
    class_statistics_len: 12,
    // Among them datcollate and datctype, names of 64 bytes.
    database_limit_between: (140, 12),
};

const V14: Facts = Facts { number: 14, wal_magic: 0xD10D, ..V13 };

const V15: Facts = Facts {
    number: 15,
    wal_magic: 0xD110,
    custom_resource_managers: true,
    image_flags: ImageFlags { apply: 0x02, pglz: 0x04, lz4: 0x08, zstd: 0x10 },
    creates_databases_by_wal: true,
    statistics_len: Some(12),
    database_limit_between: (12, 8),
    ..V14
};

const V16: Facts = Facts { number: 16, wal_magic: 0xD113, relation_map_entries: 64, ..V15 };

const V17: Facts = Facts {
    number: 17,
    wal_magic: 0xD116,
    control_version: 1700,
    checkpoint_has_wal_level: true,
    end_of_recovery_has_wal_level: true,
    ..V16
};

const V18: Facts = Facts {
    number: 18,
    wal_magic: 0xD118,
    control_version: 1800,
    control_has_char_signedness: true,
    statistics_len: Some(16),
    // And relallfrozen.
    class_statistics_len: 16,
    ..V17
};

const V19: Facts = Facts {
    number: 19,
    wal_magic: 0xD122,
    pages_have_removable_images: false,
    control_version: 1905,
    control_has_initial_checksums: true,
    checkpoint_is_wide: true,
    ..V18
};

impl PgMajor {
    /// Every version, oldest first.
    pub const ALL: [Self; 7] = [Self::V13, Self::V14, Self::V15, Self::V16, Self::V17, Self::V18, Self::V19];

    /// The version behind `server_version_num`: 150018 is 15.18.
    ///
    /// # Errors
    /// The server is older or newer than what this crate can read.
    pub fn from_version_num(version_num: u32) -> Result<Self, UnsupportedVersion> {
        let number = version_num / 10_000;
        Self::find(|facts| facts.number == number).ok_or(UnsupportedVersion { number })
    }

    /// The version whose servers begin WAL pages with `magic`.
    ///
    /// # Errors
    /// No supported version does. A page of a server with the other byte order shows its magic with the bytes swapped;
    /// [`SegmentHeader::parse`](crate::SegmentHeader::parse) tells the two apart.
    pub fn from_wal_magic(magic: u16) -> Result<Self, UnknownMagic> {
        Self::find(|facts| facts.wal_magic == magic).ok_or(UnknownMagic { magic })
    }

    /// The number before the point: 15 for 15.18.
    #[must_use]
    pub fn number(self) -> u32 {
        self.facts().number
    }

    /// What its WAL pages begin with.
    #[must_use]
    pub fn wal_magic(self) -> u16 {
        self.facts().wal_magic
    }

    fn find(wanted: impl Fn(&Facts) -> bool) -> Option<Self> {
        Self::ALL.into_iter().find(|major| wanted(major.facts()))
    }

    /// The table.
    #[inline]
    pub(crate) const fn facts(self) -> &'static Facts {
        match self {
            Self::V13 => &V13,
            Self::V14 => &V14,
            Self::V15 => &V15,
            Self::V16 => &V16,
            Self::V17 => &V17,
            Self::V18 => &V18,
            Self::V19 => &V19,
        }
    }
}

/// The bits that describe a full-page image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ImageFlags {
    apply: u8,
    pglz: u8,
    /// 0, as the next one, where no bit stands for it.
    lz4: u8,
    zstd: u8,
}

impl ImageFlags {
    pub(crate) const fn has_hole(self, flags: u8) -> bool {
        flags & 0x01 != 0
    }

    pub(crate) const fn applies(self, flags: u8) -> bool {
        flags & self.apply != 0
    }

    pub(crate) const fn compression(self, flags: u8) -> Compression {
        if flags & self.pglz != 0 {
            Compression::Pglz
        } else if flags & self.lz4 != 0 {
            Compression::Lz4
        } else if flags & self.zstd != 0 {
            Compression::Zstd
        } else {
            Compression::None
        }
    }
}

impl fmt::Display for PgMajor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(f)
    }
}

/// A major version that this crate cannot read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("PostgreSQL {number} is not supported, only 13 to 19 are")]
pub struct UnsupportedVersion {
    /// The number before the point.
    pub number: u32,
}

/// The first two bytes of a WAL page belong to no supported version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("WAL page magic is 0x{magic:04X}, which no PostgreSQL from 13 to 19 writes")]
pub struct UnknownMagic {
    /// The magic, as a number of this machine's byte order.
    pub magic: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_known_by_number_and_by_magic() {
        for major in PgMajor::ALL {
            assert_eq!(PgMajor::from_version_num(major.number() * 10_000 + 4), Ok(major));
            assert_eq!(PgMajor::from_wal_magic(major.wal_magic()), Ok(major));
        }
    }

    #[test]
    fn other_versions_are_refused_by_name() {
        for version_num in [0, 120_022, 90_624, 200_000] {
            let number = version_num / 10_000;
            assert_eq!(PgMajor::from_version_num(version_num), Err(UnsupportedVersion { number }));
        }
        assert_eq!(PgMajor::from_wal_magic(0xD101), Err(UnknownMagic { magic: 0xD101 }));
    }
}
