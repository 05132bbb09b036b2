//! Key sets against Project Wycheproof's vectors, and what a set leaves out.

use std::path::PathBuf;

use super::*;
use crate::base::time::Instant;
use crate::policy::key_cell::KeyCell;

fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The folder of material that nobody on this project wrote.
fn shared() -> PathBuf {
    if let Some(folder) = std::env::var_os("RINGWAY_SHARED") {
        return folder.into();
    }
    let beside = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared"));
    if beside.is_dir() { beside } else { "/work/shared".into() }
}

/// Two vectors ask for the rejection of padded parts, but their padding was lost on the way to the corpus:
/// they are byte for byte the valid vector 357. What they meant is tested in `policy/jwt/tests.rs`.
const CONTRADICTED: [&str; 2] = ["json_web_signature-367", "json_web_signature-370"];

/// Every vector: what is to be rejected is, what is valid beyond dispute is verified, and of the disputed
/// ones (a token's algorithm beside the key's, an alphabet beside base64url) none passes.
#[test]
fn wycheproof_signatures() {
    let path = shared().join("corpora/jwt/wycheproof_jws.jsonl");
    let lines = std::fs::read_to_string(&path).expect("the corpus of shared/corpora must be there");
    let cases: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let valid = |case: &Value| case["valid"] == true && case["disputed"] == false;
    let (mut passed, mut refused) = (0, 0);
    for case in &cases {
        let jwks = case["jwks"].to_string();
        let verified = KeySet::from_jwks(jwks.as_bytes(), &[]).is_ok_and(|set| {
            Token::parse(case["jws"].as_str().unwrap().as_bytes()).is_ok_and(|token| {
                set.check(&token) == Checked::Verified && token.payload().is_ok()
            })
        });
        let twin = |other: &&Value| other["jws"] == case["jws"] && other["jwks"] == case["jwks"];
        if CONTRADICTED.contains(&case["id"].as_str().unwrap()) {
            assert!(cases.iter().filter(twin).any(valid), "{} is contradicted no more", case["id"]);
            continue;
        }
        assert_eq!(verified, valid(case), "{} {}", case["id"], case["comment"]);
        assert!(!verified || case["gateway"] != "reject", "{}", case["id"]);
        *(if verified { &mut passed } else { &mut refused }) += 1;
    }
    assert_eq!((passed, refused), (49, 424));
}

fn unfit(key: &str) -> Option<Unfit> {
    let set = format!("{{\"keys\":[{key}]}}");
    match KeySet::from_jwks(set.as_bytes(), &[]) {
        Err(KeySetError::NoUsableKey(why)) => why,
        Err(error) => panic!("{error}"),
        Ok(_) => None,
    }
}

#[test]
fn a_secret_must_be_as_long_as_its_hash() {
    for (alg, bytes) in [("HS256", 32), ("HS384", 48), ("HS512", 64)] {
        let key =
            |len| format!("{{\"kty\":\"oct\",\"alg\":\"{alg}\",\"k\":\"{}\"}}", b64(&vec![7; len]));
        assert_eq!(unfit(&key(bytes)), None);
        assert_eq!(unfit(&key(bytes - 1)), Some(Unfit::Weak));
    }
    assert!(KeySet::from_secret(&[7; 31], &[]).is_err());
    assert!(KeySet::from_secret(&[7; 32], &[Algorithm::HS512]).is_err());
    assert_eq!(
        KeySet::from_secret(&[7; 64], &[Algorithm::HS256, Algorithm::HS512]).unwrap().len(),
        2
    );
    assert!(KeySet::from_secret(&[7; 64], &[Algorithm::RS256]).is_err());
}

#[test]
fn a_key_is_used_for_what_it_says_only() {
    let key = |more: &str| format!("{{\"kty\":\"oct\",\"k\":\"{}\"{more}}}", b64(&[7; 64]));
    assert_eq!(unfit(&key("")), None);
    assert_eq!(unfit(&key(",\"key_ops\":[\"sign\",\"verify\"]")), None);
    assert_eq!(unfit(&key(",\"use\":\"enc\"")), Some(Unfit::OtherUse));
    assert_eq!(unfit(&key(",\"key_ops\":[\"encrypt\"]")), Some(Unfit::OtherUse));
    assert_eq!(unfit(&key(",\"alg\":\"none\"")), Some(Unfit::Algorithm));
    assert_eq!(unfit(&key(",\"alg\":\"RS256\"")), Some(Unfit::Algorithm));
    assert_eq!(unfit(&key(",\"kid\":7")), Some(Unfit::Malformed));
}

#[test]
fn doubtful_sets_are_refused_whole() {
    let refused = |text: &str| KeySet::from_jwks(text.as_bytes(), &[]).unwrap_err();
    assert_eq!(refused("[]"), KeySetError::NotAKeySet);
    assert_eq!(refused("{\"keys\":[],\"keys\":[]}"), KeySetError::NotAKeySet);
    assert_eq!(refused("{\"keys\":[]}"), KeySetError::NoUsableKey(None));
    assert_eq!(refused("{\"keys\":[{\"kty\":\"oct\"},{\"kty\":\"RSA\"}]}"), KeySetError::Mixed);
    assert_eq!(refused(&" ".repeat(KEY_SET_BYTES_MAX + 1)), KeySetError::TooLarge);
    let many = format!("{{\"keys\":[{}]}}", vec!["{}"; KEY_SET_KEYS_MAX + 1].join(","));
    assert_eq!(refused(&many), KeySetError::TooLarge);
}

#[test]
fn what_is_left_out_is_named_by_place_and_reason() {
    let good = format!("{{\"kty\":\"oct\",\"kid\":\"a\",\"k\":\"{}\"}}", b64(&[7; 64]));
    let weak = "{\"kty\":\"oct\",\"kid\":\"b\",\"k\":\"AAAA\"}";
    let set = format!("{{\"keys\":[{weak},{good}]}}");
    let set = KeySet::from_jwks(set.as_bytes(), &[]).unwrap();
    assert_eq!(set.left_out(), [LeftOut { index: 0, why: Unfit::Weak }]);
    let twice = format!("{{\"keys\":[{good},{good}]}}");
    let error = KeySet::from_jwks(twice.as_bytes(), &[]).unwrap_err();
    assert_eq!(error, KeySetError::NoUsableKey(Some(Unfit::DuplicateId)));
}

#[test]
fn nothing_of_a_key_stands_in_its_debug_text() {
    let set = KeySet::from_secret(b"a secret of at least 32 bytes ...", &[]).unwrap();
    assert_eq!(format!("{set:?}"), "KeySet { keys: 1, .. }");
    let cell = KeyCell::fixed(set);
    assert!(!format!("{cell:?}").contains("secret"));
}

#[test]
fn a_private_key_or_a_certificate_is_no_public_key() {
    for label in ["PRIVATE KEY", "RSA PRIVATE KEY", "CERTIFICATE"] {
        let pem = format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
        assert_eq!(KeySet::from_pem(pem.as_bytes(), &[]).unwrap_err(), KeySetError::NotAPublicKey);
    }
}

#[test]
fn many_unknown_ids_ask_for_one_fetch_per_interval() {
    let cell = KeyCell::fixed(KeySet::from_secret(&[1; 32], &[]).unwrap());
    let at = |seconds: u64| Instant::from_nanos(seconds * 1_000_000_000);
    assert!(!cell.request_refresh(at(100)), "nobody fetches fixed keys");
    cell.set_fetcher(std::thread::current());
    assert!(cell.request_refresh(at(100)));
    assert!(cell.request_refresh(at(101)), "the fetch is outstanding");
    assert!(cell.refresh_is_wanted());
    cell.refresh_is_done();
    assert!(!cell.refresh_is_wanted());
    assert!(!cell.request_refresh(at(102)), "a fetch was just made");
    assert!(!cell.request_refresh(at(109)));
    assert!(cell.request_refresh(at(110)));
    assert!(!cell.request_refresh(at(115)), "a fetch that hangs is not waited for");
}
