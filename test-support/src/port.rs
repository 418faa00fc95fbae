//! Ports that no other test uses.

use std::fs::File;
use std::net::TcpListener;

use crate::temp_dir;

/// Below the range from which the kernel takes ports for outgoing connections (`ip_local_port_range`).
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A TCP port of 127.0.0.1, reserved among the test processes of this user for as long as this value lives.
///
/// Asking the kernel for any free port and letting go of it would leave a moment in which another test gets the same,
/// and a server that restarts would have to be lucky to get its port back.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    /// Its lock is the reservation.
    _lock: File,
}

impl Port {
    pub(crate) fn reserve() -> Self {
        // Processes start at different places only to try fewer taken ports.
        let count = PORTS.end - PORTS.start;
        let first = u16::try_from(std::process::id() * 16 % u32::from(count)).expect("smaller than a u16");
        let ports = (0..count).map(|offset| PORTS.start + (first + offset) % count);
        let mut free = ports.filter_map(Self::try_reserve);
        free.next().unwrap_or_else(|| panic!("no free port in {PORTS:?}"))
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    /// Reserves this port, as soon as no other test has it.
    pub(crate) fn wait_for(number: u16) -> Self {
        let lock = Self::lock_file(number);
        lock.lock().unwrap_or_else(|error| panic!("port {number}: {error}"));
        Self { number, _lock: lock }
    }

    fn lock_file(number: u16) -> File {
        let path = temp_dir::shared().join(format!("port-{number}"));
        File::create(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn try_reserve(number: u16) -> Option<Self> {
        let lock = Self::lock_file(number);
        lock.try_lock().ok()?;
        // Somebody who knows nothing of our locks may have it.
        TcpListener::bind(("127.0.0.1", number)).ok()?;
        Some(Self { number, _lock: lock })
    }
}
