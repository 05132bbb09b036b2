//! Why an origin's handshake came to nothing, in one word of a closed set: for the log and for operators.
//!
//! A client never learns it: `Proxy-Status` names the kind of fault (RFC 9209 §2.3.14 to §2.3.16) and no more.

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

use crate::exchange::fault::Fault;
use crate::runtime::Runtime;
use crate::serve::Core;
use crate::serve::attempt::Asked;
use crate::upstream::{Endpoint, Upstream};

/// What became of a handshake.
pub struct Unproven {
    /// What the exchange learns.
    pub fault: Fault,
    /// Why; empty where TLS had nothing to do with it.
    pub why: &'static str,
}

impl From<Fault> for Unproven {
    fn from(fault: Fault) -> Self {
        Self { fault, why: "" }
    }
}

impl Unproven {
    /// Notes why, and gives the fault back.
    pub fn note<R: Runtime>(
        self,
        core: &Core<R>,
        upstream: &Upstream,
        endpoint: &Endpoint,
        asked: &Asked,
    ) -> Fault {
        if !self.why.is_empty() {
            asked.unproven.set(self.why);
            core.turns.unproven(upstream, endpoint, self.why);
        }
        self.fault
    }
}

/// The word for what rustls found.
pub fn word(error: &Error) -> &'static str {
    match error {
        Error::InvalidCertificate(error) => of_certificate(error),
        Error::NoCertificatesPresented => "certificate_missing",
        Error::AlertReceived(alert) => of_alert(*alert),
        Error::PeerIncompatible(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig)
        | Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13) => {
            "no_common_version"
        }
        Error::NoApplicationProtocol => "no_common_protocol",
        Error::InvalidMessage(_) | Error::PeerSentOversizedRecord => "no_tls",
        _ => "handshake_failed",
    }
}

fn of_certificate(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "certificate_ended",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "certificate_not_yet_valid"
        }
        CertificateError::UnknownIssuer => "issuer_unknown",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "name_mismatch"
        }
        CertificateError::Revoked => "certificate_revoked",
        // Our own verifier says so where no pin fits.
        CertificateError::ApplicationVerificationFailure => "pin_mismatch",
        CertificateError::BadSignature => "signature_wrong",
        _ => "certificate_refused",
    }
}

/// What the origin did not like.
fn of_alert(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::HandshakeFailure => "alert_handshake_failure",
        AlertDescription::ProtocolVersion => "alert_protocol_version",
        AlertDescription::UnrecognisedName => "alert_unrecognized_name",
        AlertDescription::NoApplicationProtocol => "alert_no_application_protocol",
        AlertDescription::CertificateRequired => "alert_certificate_required",
        AlertDescription::BadCertificate => "alert_bad_certificate",
        AlertDescription::UnknownCA => "alert_unknown_ca",
        AlertDescription::CertificateExpired => "alert_certificate_expired",
        AlertDescription::AccessDenied => "alert_access_denied",
        _ => "alert",
    }
}
