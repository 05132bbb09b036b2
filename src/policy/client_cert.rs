//! Client certificates (mutual TLS) as a policy: whom a handshake proved becomes the identity of the request.
//!
//! The handshake has checked everything that can be checked once; what goes by, the certificate's time, is looked
//! at for every request, because a connection may outlive its certificate. Without a certificate a route that
//! requires one answers 403: a client cannot bring one within the connection (RFC 8446 §4.6.2 has no way for HTTP/2),
//! so that 401, which asks to try again with credentials, would never help.

use crate::base::time::Wall;
use crate::exchange::Exchange;
use crate::exchange::fault::FaultKind;
use crate::exchange::identity::Identity;
use crate::policy::{Verdict, refuse};

/// There is none.
const MISSING: &str = "certificate_missing";
/// Its time is over.
const ENDED: &str = "certificate_ended";

/// Asks for the client's certificate.
#[derive(Clone, Debug)]
pub struct ClientCerts {
    /// Whether there must be one.
    pub required: bool,
}

impl ClientCerts {
    /// Decides about a request.
    pub fn on_request(&self, x: &mut Exchange, wall: Wall) -> Verdict {
        let Some(cert) = x.proof.as_ref().and_then(|proof| proof.cert.clone()) else {
            if !self.required {
                return Verdict::Continue;
            }
            x.reason = MISSING;
            return refuse(FaultKind::HttpRequestDenied);
        };
        if cert.not_after <= wall.as_secs() {
            x.reason = ENDED;
            return refuse(FaultKind::HttpRequestDenied);
        }
        x.identity = Some(Identity::of_client_cert(cert).and(x.identity.take()));
        Verdict::Continue
    }
}
