//! The example does what it says.

use barman_storage::Cancel;

use crate::receiver::Ground;

#[allow(dead_code, reason = "main")]
#[path = "../../examples/receive_wal.rs"]
mod receive_wal;

#[test]
fn segments_are_received_and_a_slot_is_made_for_them() {
    let ground = Ground::new();
    let cancel = Cancel::new();
    let (conninfo, streaming, stop) = (ground.server.conninfo(), ground.streaming.clone(), cancel.clone());
    let receiving = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let received = runtime.block_on(receive_wal::receive_until(&stop, &conninfo, &streaming, "example"));
        received.map_err(|error| error.to_string())
    });
    ground.server.wait_until("select count(*) = 1 from pg_replication_slots where slot_name = 'example' and active");
    let segment = ground.server.switch_wal();
    ground.wait_archived(&segment);
    ground.server.wait_until(&format!(
        "select pg_walfile_name(restart_lsn) > '{segment}' from pg_replication_slots where slot_name = 'example'"
    ));
    cancel.cancel();
    receiving.join().unwrap().unwrap();
    assert!(ground.streaming.join(&segment).exists());
    ground.assert_equal_to_archive();
}
