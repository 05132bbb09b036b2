//! Fields that a route sets, adds and removes, of requests and of answers.
//!
//! RFC 9110 §5.5, §7.6.1. Whatever a client writes, an edited line must never become two.

use crate::support::gateway::{Gateway, gateway};
use crate::support::origin::{Origin, Step, answer};
use crate::support::tokens::{Signer, bearer, claims};

fn forwarding(origin: &Origin, route: &str) -> Gateway {
    let text = format!(
        "[upstream.api]\nendpoints = [\"@api@\"]\n[[route]]\nmatch = \"/{{*rest}}\"\nforward = \"api\"\n{route}"
    );
    gateway(&text).with("api", origin.address).start()
}

#[test]
fn a_request_is_sent_on_with_the_fields_that_the_route_says() {
    let origin = Origin::saying("{}");
    let edits = "[route.request_headers]\nset = { x-tenant = \"{path.rest}\", host = \"inner.example:8080\", x-empty = \"{query.none?}\" }\n\
                 add = { x-seen = [\"a\", \"{query.q|none}\"] }\nremove = [\"cookie\", \"X-Debug\"]\n";
    let gateway = forwarding(&origin, edits);
    let fields = [
        ("X-Tenant", "spoofed"),
        ("x-tenant", "again"),
        ("X-Seen", "before"),
        ("Cookie", "a=b"),
        ("x-debug", "1"),
        ("x-empty", "spoofed"),
    ];
    gateway.get_with("/acme?q=a%20b", &fields).expect(200);
    let request = origin.request();
    assert_eq!(request.all("x-tenant"), ["acme"]);
    assert_eq!(request.all("x-seen"), ["before", "a", "a b"]);
    assert_eq!(request.field("host"), Some("inner.example:8080"));
    assert_eq!(request.field("x-forwarded-host"), Some("test"));
    assert_eq!((request.field("cookie"), request.field("x-debug")), (None, None));
    // Set to nothing: the client's own copy is gone all the same.
    assert_eq!(request.field("x-empty"), None);
}

#[test]
fn a_value_never_becomes_two_lines() {
    let origin = Origin::saying("{}");
    let gateway = forwarding(
        &origin,
        "request_headers = { set = { x-q = \"{query.q}\" } }\nresponse_headers = { set = { x-a = \"{header.x-in?}\" } }\n",
    );
    for bad in ["%0d%0ax-evil:%201", "%0a", "%00", "%7f"] {
        gateway.get(&format!("/?q={bad}")).expect_problem(400);
    }
    assert_eq!(origin.requests().len(), 0);
    let response = gateway.get_with("/?q=%e2%82%ac", &[("X-In", "a b")]).expect(200);
    assert_eq!(response.field("x-a"), Some("a b"));
    assert_eq!(origin.request().field("x-q"), Some("€"));
}

#[test]
fn every_answer_of_the_route_has_the_fields_that_it_says() {
    let said = answer(
        200,
        &[
            ("Server", "inner/1.0"),
            ("X-Powered-By", "php"),
            ("Cache-Control", "public"),
            ("ETag", "\"1\""),
        ],
        b"{}",
    );
    let origin = Origin::script(move |request| match request.target.as_str() {
        "/gone" => vec![Step::Close],
        _ => vec![Step::Send(said.clone())],
    });
    let edits = "[route.response_headers]\nset = { cache-control = \"no-store\", x-frame-options = \"DENY\" }\n\
                 add = { link = [\"</a>; rel=a\", \"</b>; rel=b\"] }\nremove = [\"server\", \"x-powered-by\", \"x-request-id\"]\n";
    let gateway = forwarding(&origin, edits);
    let response = gateway.get("/a").expect(200);
    assert_eq!(response.all("cache-control"), ["no-store"]);
    assert_eq!(response.field("x-frame-options"), Some("DENY"));
    assert_eq!(response.all("link"), ["</a>; rel=a", "</b>; rel=b"]);
    assert_eq!(response.field("etag"), Some("\"1\""));
    for gone in ["server", "x-powered-by", "x-request-id"] {
        assert_eq!(response.field(gone), None, "{gone}");
    }
    assert_eq!(response.text(), "{}");
    // An error of the gateway's own is an answer of the route, too.
    let response = gateway.get("/gone").expect(502);
    assert_eq!(response.all("cache-control"), ["no-store"]);
    assert_eq!(response.field("x-frame-options"), Some("DENY"));
    // Outside of the route there is no route's word.
    let response = gateway.connect().call("HEAD", "/a", &[], b"").expect(200);
    assert_eq!(response.field("x-frame-options"), Some("DENY"));
}

#[test]
fn an_error_goes_out_with_what_could_be_filled() {
    let secret = "0123456789abcdef0123456789abcdef";
    let text = format!(
        "[jwt.key]\nsecret = \"{secret}\"\n[[route]]\nmatch = \"GET /\"\njwt = \"key\"\nrespond = {{ body = \"in\" }}\n\
         response_headers = {{ set = {{ x-user = \"{{jwt.sub}}\", x-always = \"yes\" }} }}\n"
    );
    let gateway = gateway(&text).start();
    let refused = gateway.get("/").expect_problem(401);
    assert_eq!((refused.field("x-user"), refused.field("x-always")), (None, Some("yes")));
    let (name, value) = bearer(&Signer::hs256("k", secret).sign(&claims("42")));
    let response = gateway.get_with("/", &[(name, &value)]).expect(200);
    assert_eq!((response.field("x-user"), response.field("x-always")), (Some("42"), Some("yes")));
}

#[test]
fn what_a_route_says_replaces_the_default_whole() {
    let text = "[default]\nresponse_headers = { set = { x-a = \"1\" } }\n\
                [[route]]\nmatch = \"/a\"\nrespond = { body = \"a\", headers = { x-a = \"0\", x-own = \"1\" } }\n\
                [[route]]\nmatch = \"/b\"\nrespond = { body = \"b\" }\nresponse_headers = { set = { x-b = \"2\" } }\n\
                [[route]]\nmatch = \"/c\"\nredirect = \"/a\"\nresponse_headers = \"none\"\n";
    let gateway = gateway(text).start();
    let response = gateway.get("/a").expect(200);
    assert_eq!((response.all("x-a"), response.field("x-own")), (vec!["1"], Some("1")));
    let response = gateway.get("/b").expect(200);
    assert_eq!((response.field("x-a"), response.field("x-b")), (None, Some("2")));
    assert_eq!(gateway.get("/c").expect(307).field("x-a"), None);
}

#[test]
fn lines_that_grow_too_long_refuse_the_request() {
    let origin = Origin::saying("{}");
    let gateway = forwarding(
        &origin,
        "request_headers = { add = { x-a = \"{header.x-long}\", x-b = \"{header.x-long}\" } }\n",
    );
    let long = "a".repeat(6 * 1024);
    gateway.get_with("/", &[("x-long", &long)]).expect_problem(431);
    assert_eq!(origin.requests().len(), 0);
    gateway.get_with("/", &[("x-long", "a")]).expect(200);
}

#[test]
fn a_value_may_come_from_the_request_itself() {
    let origin = Origin::saying("{}");
    let edits = "request_headers = { set = { x-was = \"{request.scheme}://{request.host}{request.path}\", x-how = \"{request.method}\" } }\n";
    let gateway = forwarding(&origin, edits);
    gateway.get_with("/a%20b/c?x=1", &[("Host", "example.com:81")]).expect(200);
    let request = origin.request();
    assert_eq!(request.field("x-was"), Some("http://example.com:81/a%20b/c"));
    assert_eq!(request.field("x-how"), Some("GET"));
}

#[test]
fn no_other_spelling_passes_beside_what_a_route_sets_or_removes() {
    let origin = Origin::saying("{}");
    let edits = "request_headers = { set = { x-user = \"{query.u}\" }, remove = [\"cookie\", \"x-debug\"] }\n";
    let gateway = forwarding(&origin, edits);
    let fields = [
        ("X_User", "evil"),
        ("X.User", "evil"),
        ("x-User", "evil"),
        ("X-_User", "evil"),
        ("X_Debug", "1"),
        ("Cookie_", "a=b"),
        ("X-Users", "fine"),
        ("XUser", "fine"),
    ];
    gateway.get_with("/?u=ada", &fields).expect(200);
    let request = origin.request();
    let mine = |name: &str| name.to_ascii_lowercase().replace(['_', '.'], "-").contains("user");
    let users: Vec<_> = request.fields.iter().filter(|(name, _)| mine(name)).collect();
    let values: Vec<&str> = users.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(values, ["fine", "fine", "ada"], "{users:?}");
    for gone in ["X_Debug", "x-debug", "Cookie_", "cookie"] {
        assert_eq!(request.field(gone), None, "{gone}");
    }
    let plain = "HTTP/1.1 200 OK\r\nX_Powered_By: php\r\nX-Fine: 1\r\nContent-Length: 0\r\n\r\n";
    let origin = Origin::answering(plain);
    let gateway = forwarding(&origin, "response_headers = { remove = [\"x-powered-by\"] }\n");
    let response = gateway.get("/").expect(200);
    assert_eq!((response.field("x_powered_by"), response.field("x-fine")), (None, Some("1")));
}

#[test]
fn what_a_route_edits_does_not_come_back_behind_the_body() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Powered-By: php\r\n\
         X_Powered_By: php\r\nAccess-Control-Allow-Origin: *\r\nAccess_Control-Request-New: 1\r\nX-Fine: 1\r\n\r\n",
    );
    let edits = "request_headers = { set = { x-user = \"ada\" }, remove = [\"x-debug\"] }\n\
                 response_headers = { remove = [\"x-powered-by\"] }\ncors = \"https://a.example\"\n";
    let gateway = forwarding(&origin, edits);
    let sum = ("X-Sum".to_string(), "1".to_string());
    let fine = ("X-Fine".to_string(), "1".to_string());
    let end = "0\r\nX-User: evil\r\nX_User: evil\r\nX-Sum: 1\r\nx-debug: 1\r\n\r\n";
    let head = "POST / HTTP/1.1\r\nHost: test\r\nTE: trailers\r\nConnection: te\r\nTransfer-Encoding: chunked\r\n\r\n";
    // An empty body, a short one, one that is still on its way, and one that is longer than what is kept.
    let long = format!("30000\r\n{}\r\n{end}", "a".repeat(0x30000));
    for body in [end.to_owned(), format!("2\r\nhi\r\n{end}"), long] {
        let mut client = gateway.connect();
        client.send(format!("{head}{body}"));
        let response = client.response().expect(200);
        assert_eq!(response.text(), "ok");
        assert_eq!(response.trailers, std::slice::from_ref(&fine));
        let request = origin.requests().pop().expect("a request");
        assert_eq!(request.trailers, std::slice::from_ref(&sum));
        assert_eq!(request.all("x-user"), ["ada"]);
    }
}
