//! The dialogue with an authority: from an order to a certificate (RFC 8555 §7).
//!
//! Challenges lie in the storage before the authority is told of them, so that any replica may be asked. Whatever goes
//! wrong is told with the host, the challenge, what the authority said and what there is to do; the keys of account and
//! certificate never stand in what is told.

use std::thread;
use std::time::Duration;

use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Error, ExternalAccountKey,
    Identifier, NewAccount, NewOrder, Order, OrderStatus, Problem,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use serde::{Deserialize, Serialize};

use crate::base::limits::{
    ACME_ORDER_TIME_MAX, ACME_SETTLE, ACME_TOKEN_BYTES_MAX, ACME_WHY_BYTES_MAX,
};
use crate::compile::{AcmeOrder, AcmePlan};
use crate::config::acme::{Challenge as Kind, KeyType};
use crate::control::acme::schedule::Cause;
use crate::control::acme::store::Store;
use crate::control::acme::web::{Web, now};
use crate::runtime::clock;
use crate::tls::challenge::Challenge;
use crate::tls::stored::{self, Stored};

/// First pause between two looks at an order, and the longest.
const LOOKS: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// Why there is no certificate.
#[derive(Debug)]
pub struct Trouble {
    /// What it means for the next attempt.
    pub cause: Cause,
    /// What is told.
    pub why: String,
    /// For how long the authority asked to be left alone. Unit: seconds.
    pub asked: Option<u64>,
    /// Whether the authority knows our account no more.
    forgotten: bool,
}

impl Trouble {
    /// Something of ours, or between us and the authority.
    pub fn away(why: impl Into<String>) -> Self {
        Self { cause: Cause::Away, why: why.into(), asked: None, forgotten: false }
    }

    /// Something that the authority has to do with.
    pub fn refused(why: impl Into<String>) -> Self {
        Self { cause: Cause::Refused, ..Self::away(why) }
    }
}

/// The account as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    contact: Vec<String>,
    credentials: AccountCredentials,
}

/// One dialogue.
pub struct Dialogue<'a> {
    /// What is to be obtained, and how.
    pub plan: &'a AcmePlan,
    /// Where challenges and the account lie.
    pub store: &'a Store,
    /// The file of the account, without its folder.
    pub account: &'a str,
}

impl Dialogue<'_> {
    /// Obtains a certificate; the text to be kept.
    ///
    /// # Errors
    /// It is not obtained, and why.
    pub fn obtain(&self, order: &AcmeOrder) -> Result<String, Trouble> {
        let web = Web::new(self.plan.roots.as_deref()).map_err(Trouble::away)?;
        let result = match self.one(order, &web) {
            Err(trouble) if trouble.forgotten => {
                // An authority that lost its memory, or a storage from elsewhere: once more as somebody new.
                self.store.forget_account(self.account);
                self.one(order, &web)
            }
            result => result,
        };
        self.store.clear_challenges();
        // An empty table is no failure.
        let _ = self.plan.challenges.publish(&[]);
        result.map_err(|mut trouble| {
            trouble.asked = trouble.asked.or(web.retry_after());
            trouble
        })
    }

    fn one(&self, order: &AcmeOrder, web: &Web) -> Result<String, Trouble> {
        let account = self.account(web)?;
        let hosts: Vec<Identifier> = order.hosts.iter().cloned().map(Identifier::Dns).collect();
        let mut at_work = now(account.new_order(&NewOrder::new(&hosts)))
            .map_err(|error| self.trouble(error, "the authority takes no order"))?;
        self.prove(&mut at_work, &order.hosts)?;
        self.until(&mut at_work, web, |status| status != OrderStatus::Pending)?;
        self.check_proofs(&mut at_work, &order.hosts)?;
        let key = key_of(self.plan.key_type)?;
        let csr = request(&order.hosts, &key)?;
        now(at_work.finalize_csr(&csr))
            .map_err(|error| self.trouble(error, "the authority does not finish the order"))?;
        self.until(&mut at_work, web, |status| {
            matches!(status, OrderStatus::Valid | OrderStatus::Invalid)
        })?;
        let chain = now(at_work.certificate())
            .map_err(|error| self.trouble(error, "the authority does not give the certificate"))?;
        let chain = chain.ok_or_else(|| Trouble::away("the authority gives no certificate"))?;
        let text = stored::write(key.serialized_der(), &chain);
        check(&text, order).map_err(Trouble::refused)?;
        Ok(text)
    }

    /// The account: the one that is kept, or a new one.
    fn account(&self, web: &Web) -> Result<Account, Trouble> {
        let contact: Vec<String> =
            self.plan.email.iter().map(|email| format!("mailto:{email}")).collect();
        let contacts: Vec<&str> = contact.iter().map(String::as_str).collect();
        let builder = Account::builder_with_http(Box::new(web.clone()));
        let kept = self.store.account(self.account);
        if let Some(kept) = kept.and_then(|text| serde_json::from_str::<Kept>(&text).ok()) {
            let again = serde_json::to_string(&Kept {
                contact: contact.clone(),
                credentials: copy(&kept.credentials)?,
            });
            let account = now(builder.from_credentials(kept.credentials))
                .map_err(|error| self.trouble(error, "the authority does not answer"))?;
            if kept.contact != contact {
                now(account.update_contacts(&contacts))
                    .map_err(|error| self.trouble(error, "the authority refuses the email"))?;
                self.keep_account(again)?;
            }
            return Ok(account);
        }
        let external = self.plan.external_account.as_ref();
        let external = external.map(|one| ExternalAccountKey::new(one.key_id.clone(), &one.key));
        let wanted = NewAccount {
            contact: &contacts,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let made = now(builder.create(&wanted, self.plan.directory.clone(), external.as_ref()));
        let (account, credentials) =
            made.map_err(|error| self.trouble(error, "no account at the authority"))?;
        self.keep_account(serde_json::to_string(&Kept { contact, credentials }))?;
        Ok(account)
    }

    fn keep_account(&self, text: Result<String, serde_json::Error>) -> Result<(), Trouble> {
        let kept = text.map_err(std::io::Error::from);
        let kept = kept.and_then(|text| self.store.keep_account(self.account, &text));
        kept.map_err(|error| Trouble::away(unwritable(self.plan, &error)))
    }

    /// Puts the answers where they will be asked for, and tells the authority. It may ask for hosts of the order only, and
    /// for no more than there are.
    fn prove(&self, order: &mut Order, hosts: &[String]) -> Result<(), Trouble> {
        let kind = kind_of(self.plan.challenge);
        let mut answers = Vec::new();
        let mut list = order.authorizations();
        for _ in 0..=hosts.len() {
            let Some(next) = now(list.next()) else { break };
            let mut host =
                next.map_err(|error| self.trouble(error, "an authorization is not there"))?;
            if host.status != AuthorizationStatus::Pending {
                continue;
            }
            let name = host.identifier().to_string();
            if answers.len() >= hosts.len() || !hosts.contains(&name) {
                let why = "the authority wants a proof for what it was not asked for";
                return Err(Trouble::refused(format!("{why}: {}", cut(&name))));
            }
            let Some(challenge) = host.challenge(kind.clone()) else {
                let word = self.plan.challenge.word();
                return Err(Trouble::refused(format!(
                    "{name}: the authority does not offer {word} for it: set `challenge` in `[acme]` to the other one"
                )));
            };
            if !is_token(&challenge.token) {
                let why = format!("{name}: the authority's token is none (RFC 8555 §8.3)");
                return Err(Trouble::refused(why));
            }
            answers.push(Challenge {
                host: name,
                token: challenge.token.clone(),
                key_authorization: challenge.key_authorization().as_str().to_owned(),
                by_tls: self.plan.challenge == Kind::TlsAlpn01,
            });
        }
        if answers.is_empty() {
            return Ok(());
        }
        let put = self.store.put_challenges(&answers, clock::wall().as_secs());
        put.map_err(|error| Trouble::away(unwritable(self.plan, &error)))?;
        self.plan.challenges.publish(&answers).map_err(Trouble::away)?;
        thread::sleep(ACME_SETTLE);
        let mut list = order.authorizations();
        for _ in hosts {
            let Some(next) = now(list.next()) else { break };
            let mut host =
                next.map_err(|error| self.trouble(error, "an authorization is not there"))?;
            if host.status != AuthorizationStatus::Pending {
                continue;
            }
            let Some(mut challenge) = host.challenge(kind.clone()) else { continue };
            now(challenge.set_ready())
                .map_err(|error| self.trouble(error, "the authority takes no challenge"))?;
        }
        Ok(())
    }

    /// Looks at an order until its status is a certain one.
    fn until(
        &self,
        order: &mut Order,
        web: &Web,
        is_it: impl Fn(OrderStatus) -> bool,
    ) -> Result<(), Trouble> {
        let until = clock::now() + ACME_ORDER_TIME_MAX;
        let mut pause = LOOKS.0;
        loop {
            let state = now(order.refresh())
                .map_err(|error| self.trouble(error, "the order cannot be looked at"))?;
            if is_it(state.status) {
                return Ok(());
            }
            if clock::now() >= until {
                return Err(Trouble::away("the authority does not come to an end with the order"));
            }
            let asked = web.retry_after().map(Duration::from_secs);
            thread::sleep(asked.unwrap_or(pause).clamp(LOOKS.0, ACME_ORDER_TIME_MAX));
            pause = (pause * 2).min(LOOKS.1);
        }
    }

    /// Whether the authority found what it looked for; else which host it did not, and why.
    fn check_proofs(&self, order: &mut Order, hosts: &[String]) -> Result<(), Trouble> {
        if order.state().status != OrderStatus::Invalid {
            return Ok(());
        }
        let whole = order.state().error.clone();
        let mut list = order.authorizations();
        for _ in hosts {
            let Some(next) = now(list.next()) else { break };
            let mut host =
                next.map_err(|error| self.trouble(error, "an authorization is not there"))?;
            now(host.refresh()).map_err(|error| self.trouble(error, "it cannot be looked at"))?;
            let said = host.challenges.iter().find_map(|challenge| challenge.error.clone());
            if let Some(said) = said {
                let name = host.identifier().to_string();
                let word = self.plan.challenge.word();
                let why = format!("{name}, by {word}: {}", self.words(&said, &name));
                return Err(Trouble { cause: cause_of(&said), ..Trouble::refused(why) });
            }
        }
        Err(match whole {
            Some(said) => self.trouble(Error::Api(said), "the order is refused"),
            None => Trouble::refused("the authority refuses the order and does not say why"),
        })
    }

    /// What an error means, and what is told of it.
    fn trouble(&self, error: Error, what: &str) -> Trouble {
        match error {
            Error::Api(said) => Trouble {
                forgotten: is(&said, "accountDoesNotExist"),
                cause: cause_of(&said),
                ..Trouble::away(format!("{what}: {}", self.words(&said, "the host")))
            },
            error => {
                let text = error.to_string();
                let untrusted = text.contains("invalid peer certificate");
                let advice = match &self.plan.roots {
                    None if untrusted => ": name its root in `ca` of `[acme]`",
                    Some(_) if untrusted => ": the roots in `ca` of `[acme]` are not its own",
                    _ => "",
                };
                Trouble::away(format!("{what}: {text}{advice}"))
            }
        }
    }

    /// What the authority said, and what there is to do.
    fn words(&self, said: &Problem, host: &str) -> String {
        let kind = short(said);
        let mut text = format!("{kind}: {}", said.detail.as_deref().unwrap_or("no more is said"));
        for one in &said.subproblems {
            text.push_str("; ");
            text.push_str(one.detail.as_deref().unwrap_or_default());
        }
        let by_tls = self.plan.challenge == Kind::TlsAlpn01;
        let advice = match kind {
            "dns" => {
                format!("see that {host} has an address in DNS, and that it is this gateway's")
            }
            "connection" | "tls" | "unauthorized" | "incorrectResponse" if by_tls => {
                format!(
                    "see that port 443 of {host} comes to this gateway, and that nothing in front of it ends TLS"
                )
            }
            "connection" | "tls" | "unauthorized" | "incorrectResponse" => {
                format!(
                    "see that port 80 of {host} comes to a listener of this gateway without TLS"
                )
            }
            "caa" => format!("a CAA record of {host} names other authorities: add this one"),
            "rateLimited" => {
                "try out with the authority's staging directory; docs/acme.md tells its limits"
                    .to_owned()
            }
            "externalAccountRequired" => {
                "this authority wants `external_account` in `[acme]`".to_owned()
            }
            "rejectedIdentifier" => format!("this authority gives nothing for {host}"),
            "userActionRequired" => "agree to the authority's new terms".to_owned(),
            "badCSR" | "badPublicKey" => "try another `key_type` in `[acme]`".to_owned(),
            "invalidContact" | "unsupportedContact" => "correct `email` in `[acme]`".to_owned(),
            _ => return text,
        };
        format!("{text} (to do: {advice})")
    }
}

/// A text of the authority's that is told and kept, cut to a length that can be.
pub fn cut(text: &str) -> &str {
    let end =
        (0..=ACME_WHY_BYTES_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

/// Whether it is base64url, of which a path and an answer can be made (RFC 8555 §8.1, §8.3).
fn is_token(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !text.is_empty() && text.len() <= ACME_TOKEN_BYTES_MAX && text.bytes().all(fits)
}

/// The last word of a problem's type (RFC 8555 §6.7).
fn short(said: &Problem) -> &str {
    let kind = said.r#type.as_deref().unwrap_or("problem");
    kind.strip_prefix("urn:ietf:params:acme:error:").unwrap_or(kind)
}

fn is(said: &Problem, kind: &str) -> bool {
    short(said) == kind
}

fn cause_of(said: &Problem) -> Cause {
    let own = said.status.is_some_and(|status| status >= 500);
    match short(said) {
        "rateLimited" => Cause::Limited,
        "badNonce" | "serverInternal" => Cause::Away,
        _ if own => Cause::Away,
        _ => Cause::Refused,
    }
}

fn kind_of(challenge: Kind) -> ChallengeType {
    match challenge {
        Kind::Http01 => ChallengeType::Http01,
        Kind::TlsAlpn01 => ChallengeType::TlsAlpn01,
    }
}

/// What is told of a storage that cannot be written.
pub fn unwritable(plan: &AcmePlan, error: &std::io::Error) -> String {
    format!(
        "{} cannot be written: {error} (to do: let the gateway's user write there, or set `storage` in `[acme]`)",
        plan.storage.display()
    )
}

fn copy(credentials: &AccountCredentials) -> Result<AccountCredentials, Trouble> {
    let text = serde_json::to_string(credentials);
    let copy = text.and_then(|text| serde_json::from_str(&text));
    copy.map_err(|error| Trouble::away(error.to_string()))
}

fn key_of(kind: KeyType) -> Result<KeyPair, Trouble> {
    let made = KeyPair::generate_for(match kind {
        KeyType::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
        KeyType::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
        KeyType::Rsa2048 => &rcgen::PKCS_RSA_SHA256,
    });
    made.map_err(|error| Trouble::away(format!("no key can be made: {error}")))
}

/// What the authority is to sign (RFC 2986): the hosts as alternative names, and no other name.
fn request(hosts: &[String], key: &KeyPair) -> Result<Vec<u8>, Trouble> {
    let made = CertificateParams::new(hosts.to_vec()).and_then(|mut params| {
        params.distinguished_name = DistinguishedName::new();
        params.serialize_request(key)
    });
    made.map(|csr| csr.der().to_vec())
        .map_err(|error| Trouble::away(format!("no request can be made: {error}")))
}

/// Whether the authority gave what was asked for.
fn check(text: &str, order: &AcmeOrder) -> Result<(), String> {
    let given = stored::read(text);
    let Stored { facts, .. } =
        given.map_err(|why| format!("what the authority gave cannot be used: {why}"))?;
    match order.hosts.iter().find(|host| !facts.names.contains(host)) {
        Some(host) => Err(format!("what the authority gave is not for {host}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_base64url_and_nothing_else() {
        assert!(is_token("evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr_oA"));
        let long = "a".repeat(ACME_TOKEN_BYTES_MAX + 1);
        for text in ["", "a/b", "../a", "a b", "a.b", "<script>", "a\r\nb", "é", &long] {
            assert!(!is_token(text), "{text}");
        }
    }
}
