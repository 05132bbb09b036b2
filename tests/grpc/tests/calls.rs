//! Calls of every kind, directly, through the gateway in cleartext, and through it over TLS on both sides. What holds
//! without a gateway must hold with one; the first of the three shows that the tests themselves are right.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use ringway_grpc::authority::Authority;
use ringway_grpc::gateway::{self, Gateway};
use ringway_grpc::service::{self, Running, path};
use ringway_grpc::{Note, PATIENCE};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint, ServerTlsConfig};
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

/// A service, and the way to it.
struct Way {
    client: Grpc<Channel>,
    server: Running,
    gateway: Option<Gateway>,
    _authority: Option<Authority>,
}

fn codec() -> ProstCodec<Note, Note> {
    ProstCodec::default()
}

async fn client(url: String, tls: Option<ClientTlsConfig>) -> Grpc<Channel> {
    let mut endpoint = Endpoint::from_shared(url).expect("a URL");
    if let Some(tls) = tls {
        endpoint = endpoint.tls_config(tls).expect("a root");
    }
    Grpc::new(endpoint.connect().await.expect("somebody listens"))
        .max_decoding_message_size(64 << 20)
        .max_encoding_message_size(64 << 20)
}

impl Way {
    /// The client, which may be asked once more.
    async fn ready(&mut self) -> &mut Grpc<Channel> {
        self.client.ready().await.expect("a connection");
        &mut self.client
    }

    async fn direct() -> Way {
        let server = service::start(None).await;
        let client = client(format!("http://{}", server.address), None).await;
        Way { client, server, gateway: None, _authority: None }
    }

    async fn cleartext() -> Way {
        Way::cleartext_with("").await
    }

    /// With further keys of its route.
    async fn cleartext_with(more: &str) -> Way {
        let server = service::start(None).await;
        let text = format!(
            "[upstream.notes]\nendpoints = [\"{}\"]\nhttp2 = true\n[[route]]\n\
             match = \"/ringway.test.Notes/{{method}}\"\nforward = \"notes\"\n{more}",
            server.address
        );
        let gateway = gateway::start(&text);
        let client = client(format!("http://{}", gateway.address), None).await;
        Way { client, server, gateway: Some(gateway), _authority: None }
    }

    async fn tls() -> Way {
        let authority = Authority::new();
        let server =
            service::start(Some(ServerTlsConfig::new().identity(authority.identity()))).await;
        let (cert, key) = (authority.path("server.pem"), authority.path("server.key"));
        let text = format!(
            "[[listen]]\naddress = \"@LISTEN@\"\ntls = {{ certificates = [{{ cert = {cert:?}, key = {key:?} }}] }}\n\
             [upstream.notes]\nendpoints = [\"{}\"]\nhttp2 = true\ntls = {{ roots = {:?}, name = \"localhost\" }}\n\
             [[route]]\nmatch = \"/ringway.test.Notes/{{method}}\"\nforward = \"notes\"\n",
            server.address,
            authority.path("root.pem"),
        );
        let gateway = gateway::start(&text);
        let tls = ClientTlsConfig::new().ca_certificate(authority.root()).domain_name("localhost");
        let client = client(format!("https://{}", gateway.address), Some(tls)).await;
        Way { client, server, gateway: Some(gateway), _authority: Some(authority) }
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("within any patience")
}

async fn unary(mut way: Way) {
    let mut request = Request::new(Note::sized(7, 100_000));
    request.metadata_mut().insert("x-word", "hello".parse().expect("a value"));
    request.metadata_mut().insert_bin("x-bytes-bin", MetadataValue::from_bytes(&[0, 255, 13, 10]));
    let answer =
        soon(way.ready().await.unary(request, path("Say"), codec())).await.expect("an answer");
    assert_eq!(answer.metadata().get("x-word").expect("a word"), "hello");
    let bytes =
        answer.metadata().get_bin("x-bytes-bin").expect("bytes").to_bytes().expect("base64");
    assert_eq!(bytes[..], [0, 255, 13, 10]);
    assert_eq!(answer.into_inner(), Note::sized(7, 100_000));
    // An empty message is five bytes.
    let empty = way.ready().await.unary(Request::new(Note::default()), path("Say"), codec()).await;
    assert_eq!(empty.expect("an answer").into_inner(), Note::default());
    // A large one is many frames.
    let large = Note::sized(9, 5_000_000);
    let answer =
        soon(way.ready().await.unary(Request::new(large.clone()), path("Say"), codec())).await;
    assert_eq!(answer.expect("an answer").into_inner(), large);
}

async fn failures(mut way: Way) {
    for code in [1, 2, 3, 5, 8, 11, 13, 14, 16] {
        let note = Note {
            text: "nicht gefunden: 100 % \u{1f980}\n".into(),
            number: code,
            data: vec![0, 1, 254, 255],
        };
        let error = soon(way.ready().await.unary::<_, Note, _>(
            Request::new(note.clone()),
            path("Fail"),
            codec(),
        ))
        .await;
        let error = error.expect_err("a failure");
        assert_eq!(error.code(), Code::from(code as i32));
        assert_eq!((error.message(), error.details()), (note.text.as_str(), &note.data[..]));
        assert_eq!(error.metadata().get("x-why").expect("metadata"), "because");
    }
    // Behind messages it comes in trailers.
    let asked = Note { number: 3, data: vec![9; 300], ..Note::default() };
    let answer =
        way.ready().await.server_streaming(Request::new(asked), path("Break"), codec()).await;
    let mut notes = answer.expect("an answer").into_inner();
    for number in 0..3 {
        assert_eq!(notes.message().await.expect("a message"), Some(Note::sized(number, 10)));
    }
    let error = soon(notes.message()).await.expect_err("the failure");
    assert_eq!((error.code(), error.message()), (Code::DataLoss, "brøken"));
    assert_eq!(error.details(), [9; 300]);
    // A method that the service does not have.
    let missing = way
        .ready()
        .await
        .unary::<_, Note, _>(Request::new(Note::default()), path("Nothing"), codec())
        .await;
    assert_eq!(missing.expect_err("a failure").code(), Code::Unimplemented);
}

async fn streams(mut way: Way) {
    // Towards the service.
    let notes = stream::iter((0..1000).map(|number| Note::sized(number, 100)));
    let sum =
        soon(way.ready().await.client_streaming(Request::new(notes), path("Collect"), codec()))
            .await;
    let sum = sum.expect("an answer").into_inner();
    assert_eq!((sum.number, sum.data.len()), (499_500, 1000));
    // None at all.
    let none = stream::iter(Vec::<Note>::new());
    let sum =
        soon(way.ready().await.client_streaming(Request::new(none), path("Collect"), codec()))
            .await;
    assert_eq!(sum.expect("an answer").into_inner(), Note::default());
    // From the service.
    let asked = Note { number: 10_000, data: vec![0; 1000], ..Note::default() };
    let answer =
        soon(way.ready().await.server_streaming(Request::new(asked), path("Count"), codec())).await;
    let mut notes = answer.expect("an answer").into_inner();
    for number in 0..10_000 {
        assert_eq!(
            soon(notes.message()).await.expect("a message"),
            Some(Note::sized(number, 1000))
        );
    }
    assert_eq!(soon(notes.message()).await.expect("the end"), None);
}

/// Ten thousand messages each way on one stream, whole and in order; then the client ends, and the service says one more.
async fn ten_thousand_each_way(mut way: Way) {
    let sized = |number: u64| Note::sized(number, (number % 700) as usize);
    let notes = stream::iter((0..10_000).map(sized));
    let answer =
        soon(way.ready().await.streaming(Request::new(notes), path("Chat"), codec())).await;
    let mut notes = answer.expect("an answer").into_inner();
    for number in 0..10_000 {
        let note = soon(notes.message()).await.expect("a message").expect("not the end");
        assert!(note == sized(number), "{number} was expected and not {}", note.number);
    }
    let last = soon(notes.message()).await.expect("a message").expect("not the end");
    assert_eq!((last.text.as_str(), last.number), ("all", 10_000));
    assert_eq!(soon(notes.message()).await.expect("the end"), None);
}

/// Each message is answered before the next one is said: nobody collects anything on the way.
async fn a_conversation(mut way: Way) {
    let (say, said) = mpsc::channel(1);
    let answer = soon(way.ready().await.streaming(
        Request::new(ReceiverStream::new(said)),
        path("Chat"),
        codec(),
    ))
    .await;
    let mut notes = answer.expect("an answer").into_inner();
    for number in 0..200 {
        say.send(Note::sized(number, 5)).await.expect("a listener");
        assert_eq!(soon(notes.message()).await.expect("a message"), Some(Note::sized(number, 5)));
    }
    drop(say);
    assert_eq!(soon(notes.message()).await.expect("a message").map(|note| note.number), Some(200));
    assert_eq!(soon(notes.message()).await.expect("the end"), None);
}

async fn many_at_once(way: Way) {
    let calls = (0..1000).map(|number| {
        let mut client = way.client.clone();
        async move {
            client.ready().await.expect("a connection");
            let answer =
                client.unary(Request::new(Note::sized(number, 300)), path("Say"), codec()).await;
            assert_eq!(answer.expect("an answer").into_inner(), Note::sized(number, 300));
        }
    });
    soon(stream::iter(calls).buffer_unordered(200).collect::<Vec<_>>()).await;
    assert_eq!(way.server.seen.heads().len(), 1000);
}

/// Who gives up is known to the service, before its first message and after it.
async fn cancelled(mut way: Way) {
    let mut other = way.client.clone();
    other.ready().await.expect("a connection");
    let call = tokio::spawn(async move {
        other.unary::<Note, Note, _>(Request::new(Note::default()), path("Never"), codec()).await
    });
    soon(way.server.seen.begun(1)).await;
    call.abort();
    soon(way.server.seen.given_up(1)).await;
    let answer = way
        .ready()
        .await
        .server_streaming(Request::new(Note::default()), path("Hold"), codec())
        .await;
    let mut notes = answer.expect("an answer").into_inner();
    assert_eq!(soon(notes.message()).await.expect("a message"), Some(Note::sized(0, 1)));
    drop(notes);
    soon(way.server.seen.given_up(2)).await;
    // Others go on on the same connection.
    let answer =
        way.ready().await.unary(Request::new(Note::sized(1, 1)), path("Say"), codec()).await;
    assert_eq!(answer.expect("an answer").into_inner(), Note::sized(1, 1));
}

/// A service may end a call while its client still speaks.
async fn ended_early(mut way: Way) {
    let (say, said) = mpsc::channel(1);
    say.send(Note::sized(5, 5)).await.expect("a listener");
    let answer = soon(way.ready().await.streaming(
        Request::new(ReceiverStream::new(said)),
        path("Hasty"),
        codec(),
    ))
    .await;
    let mut notes = answer.expect("an answer").into_inner();
    assert_eq!(soon(notes.message()).await.expect("a message"), Some(Note::sized(5, 5)));
    let error = soon(notes.message()).await.expect_err("the end");
    assert_eq!((error.code(), error.message()), (Code::Aborted, "enough"));
    drop(say);
}

/// The service learns how long its client waits; through a gateway what is left of it.
async fn deadlines(mut way: Way) {
    let mut request = Request::new(Note::sized(1, 1));
    request.set_timeout(Duration::from_secs(50));
    way.ready().await.unary(request, path("Say"), codec()).await.expect("an answer");
    let (_, fields) = &way.server.seen.heads()[0];
    let told = fields["grpc-timeout"].to_str().expect("text").to_owned();
    let (digits, unit) = told.split_at(told.len() - 1);
    let count: u64 = digits.parse().expect("a number");
    let micros = match unit {
        "S" => count * 1_000_000,
        "m" => count * 1000,
        "u" => count,
        "n" => count / 1000,
        _ => panic!("{told}"),
    };
    assert!(micros > 0 && micros <= 50_000_000, "{told}");
    if way.gateway.is_some() {
        assert!(micros < 50_000_000, "the time on the way counts: {told}");
    }
    assert_eq!(fields.get_all("grpc-timeout").iter().count(), 1);
    assert_eq!(
        (&fields["te"], &fields["content-type"]),
        (&"trailers".parse().expect("a value"), &"application/grpc".parse().expect("a value"))
    );
    // A service that says nothing.
    let mut request = Request::new(Note::default());
    request.set_timeout(Duration::from_millis(300));
    let error = soon(way.ready().await.unary::<_, Note, _>(request, path("Never"), codec())).await;
    assert!(matches!(
        error.expect_err("a failure").code(),
        Code::DeadlineExceeded | Code::Cancelled
    ));
    soon(way.server.seen.given_up(1)).await;
}

macro_rules! ways {
    ($($name:ident)*) => {
        mod direct {
            use super::Way;
            $(#[tokio::test] async fn $name() { super::$name(Way::direct().await).await; })*
        }
        mod cleartext {
            use super::Way;
            $(#[tokio::test] async fn $name() { super::$name(Way::cleartext().await).await; })*
        }
        mod tls {
            use super::Way;
            $(#[tokio::test] async fn $name() { super::$name(Way::tls().await).await; })*
        }
    };
}

ways! {
    unary failures streams ten_thousand_each_way a_conversation many_at_once cancelled ended_early deadlines
}
