//! Prints what a cluster knows about itself, as pg_controldata does: `control_file PGDATA`.

use std::error::Error;
use std::path::Path;

use wal_format::{ControlFile, PgMajor};

fn main() -> Result<(), Box<dyn Error>> {
    let data = std::env::args_os().nth(1).ok_or("usage: control_file PGDATA")?;
    let data = Path::new(&data);
    let major: u32 = std::fs::read_to_string(data.join("PG_VERSION"))?.trim().parse()?;
    let major = PgMajor::from_version_num(major * 10_000)?;
    let control = ControlFile::parse(&std::fs::read(data.join("global/pg_control"))?, major)?;

    println!("cluster                 {} of PostgreSQL {major}", control.system_id);
    println!("state                   {:?}", control.state);
    println!("latest checkpoint       {} on timeline {}", control.checkpoint_lsn, control.checkpoint.timeline);
    println!("recovery begins at      {}", control.checkpoint.redo);
    if let Some(minimum) = control.minimum_recovery {
        println!("recovery has to reach   {} on timeline {}", minimum.lsn, minimum.timeline);
    }
    println!("segments of WAL         {} bytes", control.segment_size);
    println!("data checksums          {}", if control.data_checksum_version == 0 { "off" } else { "on" });
    Ok(())
}
