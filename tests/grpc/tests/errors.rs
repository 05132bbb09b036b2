//! What the gateway itself says to a real client of gRPC, and what it must not do to calls that take long.

use ringway_grpc::gateway::{self, Gateway, eventually};
use ringway_grpc::service::{self, Running, path};
use ringway_grpc::{Note, PATIENCE};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

fn codec() -> ProstCodec<Note, Note> {
    ProstCodec::default()
}

async fn client(gateway: &Gateway) -> Grpc<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{}", gateway.address)).expect("a URL");
    Grpc::new(endpoint.connect().await.expect("somebody listens"))
}

/// A gateway in front of the service, which is `@NOTES@` in the text.
async fn in_front(text: &str) -> (Running, Gateway, Grpc<Channel>) {
    let server = service::start(None).await;
    let gateway = gateway::start(&text.replace("@NOTES@", &server.address.to_string()));
    let client = client(&gateway).await;
    (server, gateway, client)
}

async fn say(client: &mut Grpc<Channel>, method: &str) -> Result<Note, Status> {
    client.ready().await.expect("a connection");
    let request = Request::new(Note::sized(1, 10));
    let answer = tokio::time::timeout(PATIENCE, client.unary(request, path(method), codec())).await;
    answer.expect("within any patience").map(tonic::Response::into_inner)
}

const UPSTREAM: &str = "[upstream.notes]\nendpoints = [\"@NOTES@\"]\nhttp2 = true\n";

#[tokio::test]
async fn errors_of_the_gateway_are_statuses() {
    let text = format!(
        "[jwt.key]\nsecret = \"0123456789abcdef0123456789abcdef\"\n\
         [limit.one]\nrate = \"1/h\"\nburst = 1\nkey = \"{{client.address}}\"\n{UPSTREAM}\
         [upstream.nobody]\nendpoints = [\"127.0.0.1:1\"]\nhttp2 = true\n\
         [[route]]\nmatch = \"/ringway.test.Notes/Say\"\nforward = \"notes\"\nlimit = \"one\"\n\
         [[route]]\nmatch = \"/ringway.test.Notes/Collect\"\nforward = \"notes\"\njwt = \"key\"\n\
         [[route]]\nmatch = \"/ringway.test.Notes/Count\"\nforward = \"nobody\"\n\
         [[route]]\nmatch = \"/ringway.test.Notes/Never\"\nforward = \"notes\"\ntimeout = \"300ms\"\n\
         [[route]]\nmatch = \"GET /ringway.test.Notes/Get\"\nforward = \"notes\"\n"
    );
    let (server, gateway, mut client) = in_front(&text).await;
    assert_eq!(say(&mut client, "Say").await.expect("the first one"), Note::sized(1, 10));
    let expected = [
        ("Say", Code::ResourceExhausted, 8),
        ("Collect", Code::Unauthenticated, 16),
        ("Count", Code::Unavailable, 14),
        ("Never", Code::DeadlineExceeded, 4),
        ("Nowhere", Code::Unimplemented, 12),
        ("Get", Code::Unimplemented, 12),
    ];
    for (method, code, _) in expected {
        let error = say(&mut client, method).await.expect_err("an error");
        assert_eq!(error.code(), code, "{method}: {error}");
        assert!(!error.message().is_empty(), "{method}");
    }
    let log = gateway.log(7);
    for (method, _, number) in expected {
        let told = |line: &&String| {
            line.contains(&format!("Notes/{method}\""))
                && line.contains(&format!("\"grpc_status\":{number},"))
        };
        assert_eq!(log.iter().filter(told).count(), 1, "{method}: {log:?}");
    }
    tokio::time::timeout(PATIENCE, server.seen.given_up(1)).await.expect("the service was told");
    // Once only: no call is sent twice because it took too long.
    assert_eq!(server.seen.heads().iter().filter(|(method, _)| method == "Never").count(), 1);
}

#[tokio::test]
async fn a_service_that_goes_away_in_the_middle_is_unavailable() {
    let text =
        format!("{UPSTREAM}[[route]]\nmatch = \"/{{service}}/{{method}}\"\nforward = \"notes\"\n");
    let (server, gateway, mut client) = in_front(&text).await;
    client.ready().await.expect("a connection");
    let answer =
        client.server_streaming(Request::new(Note::default()), path("Hold"), codec()).await;
    let mut notes = answer.expect("an answer").into_inner();
    assert_eq!(notes.message().await.expect("a message"), Some(Note::sized(0, 1)));
    server.break_connections();
    let error =
        tokio::time::timeout(PATIENCE, notes.message()).await.expect("soon").expect_err("an error");
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    eventually("the log", || gateway.log(1)[0].contains("\"grpc_status\":14,"));
}

#[tokio::test]
async fn a_quiet_conversation_outlives_the_times_for_bodies() {
    let text = "[[listen]]\naddress = \"@LISTEN@\"\ntimeout = { body = \"1s\" }\n\
        [upstream.notes]\nendpoints = [\"@NOTES@\"]\nhttp2 = true\ntimeout = { idle = \"1s\", first_byte = \"1s\" }\n\
        [[route]]\nmatch = \"/ringway.test.Notes/{method}\"\nforward = \"notes\"\ntimeout = \"1s\"\n";
    let (_server, _gateway, mut client) = in_front(text).await;
    let (speak, spoken) = mpsc::channel(1);
    // The service is silent for longer than anything may take but a call.
    let pause = Note { number: 2500, ..Note::default() };
    speak.send(pause.clone()).await.expect("a listener");
    client.ready().await.expect("a connection");
    let answer =
        client.streaming(Request::new(ReceiverStream::new(spoken)), path("Late"), codec()).await;
    let mut notes = answer.expect("an answer").into_inner();
    for _ in 0..2 {
        let next = tokio::time::timeout(PATIENCE, notes.message()).await.expect("soon");
        assert_eq!(next.expect("a message"), Some(pause.clone()));
    }
    speak.send(Note::default()).await.expect("a listener");
    assert_eq!(notes.message().await.expect("a message"), Some(Note::default()));
    drop(speak);
    assert_eq!(notes.message().await.expect("a message"), Some(Note::default()));
    assert_eq!(notes.message().await.expect("the end"), None);
}
