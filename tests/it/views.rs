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
