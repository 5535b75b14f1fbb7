//! The one loop that answers everybody, on one thread; what reads files or computes runs on a few
//! others.

mod body;
mod patient;

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::answer::{Answer, Conditions, Method, Request, Status, reply};
use super::error::{Error, Result};
use body::Sent;
use patient::Patient;

/// What one client may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many connections there are at once; whoever comes then waits.
    pub connections: usize,
    /// How long a request's head may take, a connection be idle, and a client take nothing of
    /// what is sent to it.
    pub stall: Duration,
    /// The largest head of a request, in bytes; 8 KiB at least.
    pub head: usize,
    /// The slowest rate at which a body may be taken, in bytes a second, once it took longer than
    /// `stall`.
    pub slowest: u64,
}

impl Default for Limits {
    fn default() -> Self {
        let stall = Duration::from_secs(30);
        Self { connections: 256, stall, head: 16 << 10, slowest: 4 << 10 }
    }
}

/// How often it is looked whether somebody asked to stop.
const TICK: Duration = Duration::from_millis(100);
/// How long those who are being answered may take then.
const FAREWELL: Duration = Duration::from_secs(3);
/// How many threads read files and compute.
const READERS: usize = 8;
/// How many fields a request may have.
const FIELDS: usize = 64;

/// A socket that is listened on.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

/// What answers: a function of the request.
pub type Service = dyn Fn(&Request) -> Answer + Send + Sync;
/// Who hears of what was answered: the target of each request as it was sent, and the status.
pub type Hearer = dyn Fn(&str, u16) + Send + Sync;

impl Server {
    /// Listens on an address; port 0 is one that the system picks.
    pub fn bind(address: SocketAddr) -> Result<Self> {
        let failed = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// The address with the port that it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers everybody with what `service` says, until `cancel` is set; those who are being
    /// answered then have three seconds more.
    ///
    /// # Errors
    /// [`Error::Loop`] where the system does not let it run.
    pub fn run(
        self,
        service: Arc<Service>,
        hear: Arc<Hearer>,
        limits: Limits,
        cancel: &AtomicBool,
    ) -> Result<()> {
        let failed = |operation| move |source| Error::Loop { operation, source };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(READERS)
            .build()
            .map_err(failed("begin to serve"))?;
        let served = runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(self.listener)
                .map_err(failed("serve this socket"))?;
            accept(&listener, &Desk { service, hear, limits }, cancel).await;
            Ok(())
        });
        runtime.shutdown_timeout(FAREWELL);
        served
    }
}

/// What every connection needs.
#[derive(Clone)]
struct Desk {
    service: Arc<Service>,
    hear: Arc<Hearer>,
    limits: Limits,
}

async fn accept(listener: &tokio::net::TcpListener, desk: &Desk, cancel: &AtomicBool) {
    let places = Arc::new(Semaphore::new(desk.limits.connections));
    let (stop, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut place = None;
    while !cancel.load(Ordering::Relaxed) {
        while connections.try_join_next().is_some() {}
        if place.is_none() {
            let free = timeout(TICK, Arc::clone(&places).acquire_owned()).await;
            place = free.ok().and_then(Result::ok);
            continue;
        }
        match timeout(TICK, listener.accept()).await {
            Err(_nobody_yet) => {}
            Ok(Ok((stream, _))) => {
                let (desk, stopped, place) = (desk.clone(), stopped.clone(), place.take());
                connections.spawn(async move {
                    converse(stream, desk, stopped).await;
                    drop(place);
                });
            }
            // A client that has gone again, or too many open files: others may be better off.
            Ok(Err(_)) => tokio::time::sleep(TICK).await,
        }
    }
    // Nobody listens if there is no connection.
    let _ = stop.send(true);
    let _ = timeout(FAREWELL, async { while connections.join_next().await.is_some() {} }).await;
    connections.abort_all();
}

/// One connection, until its client has enough, is too slow, or everything ends.
async fn converse(stream: TcpStream, desk: Desk, mut stopped: watch::Receiver<bool>) {
    let limits = desk.limits;
    let service = service_fn(|request| {
        let desk = desk.clone();
        async move { Ok::<_, Infallible>(respond(request, desk).await) }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.stall)
        .max_buf_size(limits.head.max(8 << 10))
        .max_headers(FIELDS);
    let io = TokioIo::new(Patient::new(stream, limits.stall));
    let mut connection = pin!(builder.serve_connection(io, service));
    let mut end = pin!(stopped.wait_for(|stop| *stop));
    let mut told = false;
    // What goes wrong here is between the client and the network.
    let _ = poll_fn(|context| {
        if !told && end.as_mut().poll(context).is_ready() {
            told = true;
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(context)
    })
    .await;
}

async fn respond(request: hyper::Request<Incoming>, desk: Desk) -> Response<Sent> {
    let target = match request.uri().path_and_query() {
        Some(target) => target.as_str().to_owned(),
        None => request.uri().path().to_owned(),
    };
    let method = match *request.method() {
        hyper::Method::GET => Some(Method::Get),
        hyper::Method::HEAD => Some(Method::Head),
        _ => None,
    };
    let Some(method) = method else {
        (desk.hear)(&target, 405);
        let mut response = Response::new(Sent::nothing());
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    };
    let field = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let answer = match Request::new(&target, field(header::HOST)) {
        None => Answer::text(Status::Wrong, "this is no path that a file could have\n"),
        Some(request) => {
            let service = Arc::clone(&desk.service);
            let answer = tokio::task::spawn_blocking(move || service(&request)).await;
            answer.unwrap_or_else(|_| Answer::text(Status::Failed, "the server failed\n"))
        }
    };
    let conditions = Conditions {
        if_none_match: field(header::IF_NONE_MATCH),
        if_modified_since: field(header::IF_MODIFIED_SINCE),
        if_range: field(header::IF_RANGE),
        range: field(header::RANGE),
    };
    let reply = reply(answer, method, &conditions);
    (desk.hear)(&target, reply.status);
    let body =
        reply.body.map_or_else(Sent::nothing, |(body, range)| Sent::new(body, range, desk.limits));
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in reply.fields {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response
}
