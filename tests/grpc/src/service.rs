//! The service `ringway.test.Notes`: one method of each kind, and some that misbehave.

use std::convert::Infallible;
use std::future::Future;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::body::Body;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::server::{Grpc, NamedService};
use tonic::transport::{Server, ServerTlsConfig};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

use crate::Note;

/// The path of a method.
pub fn path(method: &str) -> http::uri::PathAndQuery {
    format!("/ringway.test.Notes/{method}").parse().expect("a path")
}

/// What of the service's calls can be seen from outside.
#[derive(Default)]
pub struct Seen {
    heads: Mutex<Vec<(String, http::HeaderMap)>>,
    gone: Mutex<u64>,
    changed: Notify,
}

impl Seen {
    /// Method and fields of every call, in the order in which they came.
    pub fn heads(&self) -> Vec<(String, http::HeaderMap)> {
        self.heads.lock().expect("no panic").clone()
    }

    /// Waits until `count` calls that wait for ever were given up by their clients.
    pub async fn given_up(&self, count: u64) {
        loop {
            let changed = self.changed.notified();
            if *self.gone.lock().expect("no panic") >= count {
                return;
            }
            changed.await;
        }
    }

    /// Waits until `count` calls have begun.
    pub async fn begun(&self, count: usize) {
        loop {
            let changed = self.changed.notified();
            if self.heads().len() >= count {
                return;
            }
            changed.await;
        }
    }
}

/// Tells that a call is over when it is dropped.
struct Guard(Arc<Seen>);

impl Drop for Guard {
    fn drop(&mut self) {
        *self.0.gone.lock().expect("no panic") += 1;
        self.0.changed.notify_waiters();
    }
}

/// A running server; it stops when it is dropped.
pub struct Running {
    pub address: SocketAddr,
    pub seen: Arc<Seen>,
    descriptors: Arc<Mutex<Vec<TcpStream>>>,
    _stop: oneshot::Sender<()>,
}

impl Running {
    /// Closes every connection at once, as a machine that fails does.
    pub fn break_connections(&self) {
        for stream in self.descriptors.lock().expect("no panic").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Starts the service.
pub async fn start(tls: Option<ServerTlsConfig>) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let seen = Arc::new(Seen::default());
    let mut server = Server::builder();
    if let Some(tls) = tls {
        server = server.tls_config(tls).expect("a certificate");
    }
    let descriptors: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    let kept = descriptors.clone();
    let incoming = TcpListenerStream::new(listener).inspect(move |accepted| {
        if let Ok(copy) = accepted.as_ref().map_err(|_| ()).and_then(copy_of) {
            kept.lock().expect("no panic").push(copy);
        }
    });
    let (stop, stopped) = oneshot::channel::<()>();
    let router = server.add_service(Notes(seen.clone()));
    tokio::spawn(router.serve_with_incoming_shutdown(incoming, async {
        let _ = stopped.await;
    }));
    Running { address, seen, descriptors, _stop: stop }
}

/// Another handle of the same socket.
fn copy_of(stream: &tokio::net::TcpStream) -> Result<TcpStream, ()> {
    let copy = stream.as_fd().try_clone_to_owned().map_err(|_| ())?;
    Ok(TcpStream::from(copy))
}

#[derive(Clone)]
struct Notes(Arc<Seen>);

impl NamedService for Notes {
    const NAME: &'static str = "ringway.test.Notes";
}

type Answer = Result<Response<Note>, Status>;
type Notes2 = Pin<Box<dyn Stream<Item = Result<Note, Status>> + Send>>;
type Answers = Result<Response<Notes2>, Status>;

impl Service<http::Request<Body>> for Notes {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let seen = self.0.clone();
        seen.heads.lock().expect("no panic").push((method.clone(), request.headers().clone()));
        seen.changed.notify_waiters();
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::<Note, Note>::default())
                .max_decoding_message_size(64 << 20)
                .max_encoding_message_size(64 << 20);
            let answer = match method.as_str() {
                "Say" => grpc.unary(service_fn(say), request).await,
                "Fail" => grpc.unary(service_fn(fail), request).await,
                "Collect" => grpc.client_streaming(service_fn(collect), request).await,
                "Count" => grpc.server_streaming(service_fn(count), request).await,
                "Break" => grpc.server_streaming(service_fn(break_off), request).await,
                "Chat" => grpc.streaming(service_fn(chat), request).await,
                "Hasty" => grpc.streaming(service_fn(hasty), request).await,
                "Late" => grpc.streaming(service_fn(late), request).await,
                "Hold" => {
                    let hold = service_fn(move |request| hold(request, seen.clone()));
                    grpc.server_streaming(hold, request).await
                }
                "Never" => {
                    let never = service_fn(move |request| never(request, seen.clone()));
                    grpc.unary(never, request).await
                }
                _ => Status::unimplemented("no such method").into_http(),
            };
            Ok(answer)
        })
    }
}

/// Says what it was told, with the metadata that came along.
async fn say(request: Request<Note>) -> Answer {
    let told = request.metadata().clone();
    let mut answer = Response::new(request.into_inner());
    echo(&told, answer.metadata_mut());
    Ok(answer)
}

fn echo(told: &MetadataMap, said: &mut MetadataMap) {
    if let Some(value) = told.get("x-word") {
        said.insert("x-word", value.clone());
    }
    if let Some(value) = told.get_bin("x-bytes-bin") {
        said.insert_bin("x-bytes-bin", value.clone());
    }
}

/// Fails with the code that it is told, details and metadata: in one block of fields.
async fn fail(request: Request<Note>) -> Answer {
    Err(failure(&request.into_inner()))
}

fn failure(note: &Note) -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert("x-why", MetadataValue::from_static("because"));
    let code = Code::from(note.number as i32);
    Status::with_details_and_metadata(code, note.text.clone(), note.data.clone().into(), metadata)
}

/// Adds up what it is told.
async fn collect(request: Request<Streaming<Note>>) -> Answer {
    let mut notes = request.into_inner();
    let mut sum = Note::default();
    while let Some(note) = notes.message().await? {
        sum.number += note.number;
        sum.data.extend_from_slice(&note.data[..note.data.len().min(1)]);
    }
    Ok(Response::new(sum))
}

/// As many messages as it is told, numbered.
async fn count(request: Request<Note>) -> Answers {
    let asked = request.into_inner();
    let size = asked.data.len();
    Ok(Response::new(stream::iter(0..asked.number).map(move |n| Ok(Note::sized(n, size))).boxed()))
}

/// As many messages as it is told, and then a failure in the trailers.
async fn break_off(request: Request<Note>) -> Answers {
    let asked = request.into_inner();
    let error = Status::with_details(Code::DataLoss, "brøken", asked.data.into());
    let notes = stream::iter(0..asked.number).map(|n| Ok(Note::sized(n, 10)));
    Ok(Response::new(notes.chain(stream::iter([Err(error)])).boxed()))
}

/// Answers every message with the same, and says how many there were when its client has ended.
async fn chat(request: Request<Streaming<Note>>) -> Answers {
    let mut notes = request.into_inner();
    let (send, receive) = mpsc::channel(16);
    tokio::spawn(async move {
        let mut count = 0;
        while let Ok(Some(note)) = notes.message().await {
            count += 1;
            if send.send(Ok(note)).await.is_err() {
                return;
            }
        }
        let end = Note { text: "all".into(), number: count, data: Vec::new() };
        let _ = send.send(Ok(end)).await;
    });
    Ok(Response::new(ReceiverStream::new(receive).boxed()))
}

/// Ends the call after the first message, whatever its client still says.
async fn hasty(request: Request<Streaming<Note>>) -> Answers {
    let mut notes = request.into_inner();
    let first = notes.message().await?.unwrap_or_default();
    Ok(Response::new(stream::iter([Ok(first), Err(Status::aborted("enough"))]).boxed()))
}

/// Answers the first message, is silent for as long as that says, and answers the second.
async fn late(request: Request<Streaming<Note>>) -> Answers {
    let mut notes = request.into_inner();
    let (send, receive) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Ok(Some(note)) = notes.message().await {
            let pause = Duration::from_millis(note.number);
            if send.send(Ok(note.clone())).await.is_err() {
                return;
            }
            tokio::time::sleep(pause).await;
            if send.send(Ok(note)).await.is_err() {
                return;
            }
        }
    });
    Ok(Response::new(ReceiverStream::new(receive).boxed()))
}

/// One message, and then nothing until the client is gone.
async fn hold(_request: Request<Note>, seen: Arc<Seen>) -> Answers {
    let guard = Guard(seen);
    let rest = stream::pending().inspect(move |_| {
        let _ = &guard;
    });
    Ok(Response::new(stream::iter([Ok(Note::sized(0, 1))]).chain(rest).boxed()))
}

/// No answer at all.
async fn never(_request: Request<Note>, seen: Arc<Seen>) -> Answer {
    let _guard = Guard(seen);
    std::future::pending().await
}
