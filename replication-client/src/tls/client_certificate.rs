//! [`ClientCertificate`]: our certificate, and whether the server wanted it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;

/// Our certificate, if there is one, and whether the server asked for it.
#[derive(Debug)]
pub(super) struct ClientCertificate {
    key: Option<Arc<CertifiedKey>>,
    requested: AtomicBool,
}

impl ClientCertificate {
    pub(super) fn new(key: Option<CertifiedKey>) -> Self {
        Self { key: key.map(Arc::new), requested: AtomicBool::new(false) }
    }

    /// Returns whether the server asked, once the handshake is over.
    pub(super) fn was_requested(&self) -> bool {
        self.requested.load(Ordering::Relaxed)
    }

    /// Returns whether the server asked and there was something to show.
    pub(super) fn was_sent(&self) -> bool {
        self.was_requested() && self.key.is_some()
    }
}

impl ResolvesClientCert for ClientCertificate {
    /// As libpq does, shows what there is, whichever authorities the server names.
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.requested.store(true, Ordering::Relaxed);
        self.key.clone()
    }

    fn has_certs(&self) -> bool {
        self.key.is_some()
    }
}
