//! Views of a merge: which client gets which parts, and who is asked for it (CONFIG.md, `[route.view.NAME]`).
//!
//! What can be said without tokens stands in the golden exchanges (`view_*`). A view never asks a part that
//! nobody needs.

use serde_json::json;

use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::Origin;
use crate::support::tokens::{Signer, bearer, claims};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

const CONFIG: &str = r#"
[upstream.user]
endpoints = ["@user@"]

[upstream.order]
endpoints = ["@order@"]

[jwt.key]
secret = "0123456789abcdef0123456789abcdef"

[[route]]
match = "GET /dashboard"
jwt   = "key"

[route.merge]
user   = { get = "user /users/{jwt.sub}" }
orders = { get = "order /orders" }

[route.view.support]
when = { jwt = { "realm.roles" = "support" }, query = { for = true } }
keep = ["user.id"]

[route.view.app]
when = { jwt = { app = "phone" }, host = ["m.example.com", "*.m.example.com"] }
keep = ["orders"]
"#;

fn start(user: &Origin, order: &Origin) -> Gateway {
    gateway(CONFIG).with("user", user.address).with("order", order.address).start()
}

#[test]
fn a_view_is_chosen_by_claims_hosts_and_query_in_the_order_of_the_file() {
    let (user, order) = (Origin::saying(r#"{"id":7,"name":"Ada"}"#), Origin::saying("[1]"));
    let gateway = start(&user, &order);
    let whole = r#"{"user":{"id":7,"name":"Ada"},"orders":[1]}"#;
    let (support, app) = (r#"{"user":{"id":7}}"#, r#"{"orders":[1]}"#);
    for (roles, phone, target, host, expected) in [
        (json!(["a", "support"]), "phone", "/dashboard?for=x", "m.example.com", support),
        (json!(["a", "support"]), "phone", "/dashboard", "M.Example.com:80", app),
        (json!([]), "phone", "/dashboard", "x.m.example.com", app),
        (json!([]), "phone", "/dashboard", "xm.example.com", whole),
        (json!([]), "desk", "/dashboard?for", "m.example.com", whole),
        (json!(null), "desk", "/dashboard?for", "m.example.com", whole),
    ] {
        let mut token = claims("42");
        token["realm"] = json!({ "roles": roles });
        token["app"] = json!(phone);
        let (name, value) = bearer(&Signer::hs256("k1", SECRET).sign(&token));
        let response = gateway.get_with(target, &[(name, &value), ("Host", host)]).expect(200);
        assert_eq!(response.text(), expected, "{roles} {phone} {target} {host}");
    }
    assert_eq!((user.requests().len(), order.requests().len()), (4, 5));
}

const NAMED: &str = r#"
[upstream.user]
endpoints = ["@user@"]

[limit.view]
rate  = "1/m"
burst = 3
key   = "{client.address}/{view}"

[[route]]
match = "GET /dashboard"
limit = "view"

[route.merge]
user = { get = "user /{view|full}/users?view={view}" }

[route.view.tv]
when = { header = { x-client = "tv" } }

[route.view.phone]
when = { header = { x-client = "phone" } }
keep = ["user.id"]
"#;

#[test]
fn each_view_has_a_limit_of_its_own_and_parts_are_told_the_view() {
    let user = Origin::saying(r#"{"id":7,"name":"Ada"}"#);
    let gateway = gateway(NAMED).with("user", user.address).start();
    let mut client = gateway.connect();
    for kind in ["tv", "phone", "desk"] {
        let fields = [("x-client", kind)];
        // Three at once, and at most one more while a minute passes.
        (0..3).for_each(|_| drop(client.get("/dashboard", &fields).expect(200)));
        let refused = (0..2).any(|_| client.get("/dashboard", &fields).status == 429);
        assert!(refused, "{kind}");
    }
    let targets: Vec<String> = user.requests().into_iter().map(|request| request.target).collect();
    for target in ["/tv/users?view=tv", "/phone/users?view=phone", "/full/users?view="] {
        let times = targets.iter().filter(|sent| *sent == target).count();
        assert!((3..=4).contains(&times), "{target} of {targets:?}");
    }
    // A request that was refused had its view, too.
    let lines = gateway.access_log(12);
    let refused: Vec<_> = lines.iter().filter(|line| line["status"] == 429).collect();
    assert!(refused.iter().any(|line| line["view"] == "tv"), "{lines:?}");
    assert!(refused.iter().any(|line| line["view"] == "phone"), "{lines:?}");
    assert!(refused.iter().any(|line| line["view"].is_null()), "{lines:?}");
}

#[test]
fn a_limit_by_views_that_claims_decide_stands_behind_the_token() {
    let (user, order) = (Origin::saying("{}"), Origin::saying("[1]"));
    let limit = "[limit.view]\nrate = \"1/m\"\nburst = 2\nkey = \"{view}\"\n";
    let config = CONFIG.replace("jwt   = \"key\"", "jwt = \"key\"\nlimit = \"view\"");
    let gateway = gateway(&format!("{limit}{config}"))
        .with("user", user.address)
        .with("order", order.address)
        .start();
    let ask = |phone: &str| {
        let mut token = claims("42");
        token["app"] = json!(phone);
        let (name, value) = bearer(&Signer::hs256("k1", SECRET).sign(&token));
        gateway.get_with("/dashboard", &[(name, &value), ("Host", "m.example.com")])
    };
    // What proves nothing has spent nothing.
    for _ in 0..4 {
        gateway.get_with("/dashboard", &[("Host", "m.example.com")]).expect(401);
    }
    for phone in ["phone", "desk"] {
        (0..2).for_each(|_| drop(ask(phone).expect(200)));
        assert!((0..2).any(|_| ask(phone).status == 429), "{phone}");
    }
}
