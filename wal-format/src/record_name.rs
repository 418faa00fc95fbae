//! What records are called.

use crate::{PgMajor, Record, ResourceManager};

impl Record<'_> {
    /// What its resource manager calls it, as `pg_waldump` prints it: `INSERT+INIT`, `CHECKPOINT_ONLINE`. `None` for kinds that
    /// no version from 13 to 19 writes, and for those of extensions (`rm_identify`; the files of `access/rmgrdesc`).
    #[must_use]
    pub fn name(&self) -> Option<&'static str> {
        let kind = self.header.kind() >> 4;
        let names = names(self.header.manager, self.major);
        let name = names.get(usize::from(kind)).copied().unwrap_or_default();
        (!name.is_empty()).then_some(name)
    }
}

/// Names by the upper four bits of a record's `info`; empty where there is no such kind.
fn names(manager: ResourceManager, major: PgMajor) -> &'static [&'static str] {
    match (manager.name().unwrap_or_default(), major.number()) {
        ("XLOG", _) => &XLOG,
        ("Transaction", _) => &TRANSACTION,
        ("Storage", _) => &["", "CREATE", "TRUNCATE"],
        ("CLOG" | "CommitTs", _) => &["ZEROPAGE", "TRUNCATE"],
        ("Database", ..15) => &["CREATE", "DROP"],
        ("Database", _) => &["CREATE_FILE_COPY", "CREATE_WAL_LOG", "DROP"],
        ("Tablespace", _) => &["CREATE", "DROP"],
        ("MultiXact", _) => &["ZERO_OFF_PAGE", "ZERO_MEM_PAGE", "CREATE_ID", "TRUNCATE_ID"],
        ("RelMap", _) => &["UPDATE"],
        ("Standby", _) => &["LOCK", "RUNNING_XACTS", "INVALIDATIONS"],
        ("Heap2", 13) => &HEAP2_13,
        ("Heap2", 14..17) => &HEAP2_14,
        ("Heap2", _) => &HEAP2_17,
        ("Heap", _) => &HEAP,
        ("Btree", _) => &BTREE,
        ("Hash", _) => &HASH,
        ("Gin", _) => &GIN,
        ("Gist", _) => &["PAGE_UPDATE", "DELETE", "PAGE_REUSE", "PAGE_SPLIT", "", "", "PAGE_DELETE", "ASSIGN_LSN"],
        ("Sequence", _) => &["LOG"],
        ("SPGist", _) => &SPGIST,
        ("BRIN", _) => &BRIN,
        ("ReplicationOrigin", _) => &["SET", "DROP"],
        // It has one kind, whose other bits mean nothing.
        ("Generic", _) => &["Generic"; 16],
        ("LogicalMessage", _) => &["MESSAGE"],
        _ => &[],
    }
}

const XLOG: [&str; 15] = [
    "CHECKPOINT_SHUTDOWN",
    "CHECKPOINT_ONLINE",
    "NOOP",
    "NEXTOID",
    "SWITCH",
    "BACKUP_END",
    "PARAMETER_CHANGE",
    "RESTORE_POINT",
    "FPW_CHANGE",
    "END_OF_RECOVERY",
    "FPI_FOR_HINT",
    "FPI",
    "",
    "OVERWRITE_CONTRECORD",
    "CHECKPOINT_REDO",
];

/// The highest bit says that more follows than the time.
const TRANSACTION: [&str; 16] = [
    "COMMIT",
    "PREPARE",
    "ABORT",
    "COMMIT_PREPARED",
    "ABORT_PREPARED",
    "ASSIGNMENT",
    "INVALIDATION",
    "",
    "COMMIT",
    "PREPARE",
    "ABORT",
    "COMMIT_PREPARED",
    "ABORT_PREPARED",
    "ASSIGNMENT",
    "INVALIDATION",
    "",
];

const HEAP2_13: [&str; 14] = [
    "REWRITE",
    "CLEAN",
    "FREEZE_PAGE",
    "CLEANUP_INFO",
    "VISIBLE",
    "MULTI_INSERT",
    "LOCK_UPDATED",
    "NEW_CID",
    "",
    "",
    "",
    "",
    "",
    "MULTI_INSERT+INIT",
];

const HEAP2_14: [&str; 14] = [
    "REWRITE",
    "PRUNE",
    "VACUUM",
    "FREEZE_PAGE",
    "VISIBLE",
    "MULTI_INSERT",
    "LOCK_UPDATED",
    "NEW_CID",
    "",
    "",
    "",
    "",
    "",
    "MULTI_INSERT+INIT",
];

const HEAP2_17: [&str; 14] = [
    "REWRITE",
    "PRUNE_ON_ACCESS",
    "PRUNE_VACUUM_SCAN",
    "PRUNE_VACUUM_CLEANUP",
    "VISIBLE",
    "MULTI_INSERT",
    "LOCK_UPDATED",
    "NEW_CID",
    "",
    "",
    "",
    "",
    "",
    "MULTI_INSERT+INIT",
];

const HEAP: [&str; 13] = [
    "INSERT",
    "DELETE",
    "UPDATE",
    "TRUNCATE",
    "HOT_UPDATE",
    "HEAP_CONFIRM",
    "LOCK",
    "INPLACE",
    "INSERT+INIT",
    "",
    "UPDATE+INIT",
    "",
    "HOT_UPDATE+INIT",
];

const BTREE: [&str; 15] = [
    "INSERT_LEAF",
    "INSERT_UPPER",
    "INSERT_META",
    "SPLIT_L",
    "SPLIT_R",
    "INSERT_POST",
    "DEDUP",
    "DELETE",
    "UNLINK_PAGE",
    "UNLINK_PAGE_META",
    "NEWROOT",
    "MARK_PAGE_HALFDEAD",
    "VACUUM",
    "REUSE_PAGE",
    "META_CLEANUP",
];

const HASH: [&str; 13] = [
    "INIT_META_PAGE",
    "INIT_BITMAP_PAGE",
    "INSERT",
    "ADD_OVFL_PAGE",
    "SPLIT_ALLOCATE_PAGE",
    "SPLIT_PAGE",
    "SPLIT_COMPLETE",
    "MOVE_PAGE_CONTENTS",
    "SQUEEZE_PAGE",
    "DELETE",
    "SPLIT_CLEANUP",
    "UPDATE_META_PAGE",
    "VACUUM_ONE_PAGE",
];

const GIN: [&str; 10] = [
    "",
    "CREATE_PTREE",
    "INSERT",
    "SPLIT",
    "VACUUM_PAGE",
    "DELETE_PAGE",
    "UPDATE_META_PAGE",
    "INSERT_LISTPAGE",
    "DELETE_LISTPAGE",
    "VACUUM_DATA_LEAF_PAGE",
];

const SPGIST: [&str; 9] = [
    "",
    "ADD_LEAF",
    "MOVE_LEAFS",
    "ADD_NODE",
    "SPLIT_TUPLE",
    "PICKSPLIT",
    "VACUUM_LEAF",
    "VACUUM_ROOT",
    "VACUUM_REDIRECT",
];

const BRIN: [&str; 11] = [
    "CREATE_INDEX",
    "INSERT",
    "UPDATE",
    "SAMEPAGE_UPDATE",
    "REVMAP_EXTEND",
    "DESUMMARIZE",
    "",
    "",
    "",
    "INSERT+INIT",
    "UPDATE+INIT",
];
