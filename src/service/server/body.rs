//! A body on its way: files are read in pieces, and only as fast as the client takes them.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use hyper::body::{Body, Bytes, Frame, SizeHint};
use rustix::io::{ReadWriteFlags, preadv2};
use tokio::task::JoinHandle;

use super::Limits;
use crate::service::answer;

/// How much of a file is read at once, in bytes.
const PIECE: u64 = 256 << 10;

/// Some bytes of an answer's body.
pub(super) struct Sent {
    from: From,
    left: Range<u64>,
    taken: u64,
    since: Instant,
    limits: Limits,
}

enum From {
    Bytes(Bytes),
    File { file: Arc<File>, reading: Option<JoinHandle<io::Result<Vec<u8>>>> },
}

impl Sent {
    /// These bytes of a body.
    pub(super) fn new(body: answer::Body, range: Range<u64>, limits: Limits) -> Self {
        let from = match body {
            answer::Body::Bytes(bytes) => From::Bytes(Bytes::from(bytes)),
            answer::Body::File { file, .. } => From::File { file: Arc::new(file), reading: None },
        };
        Self { from, left: range, taken: 0, since: Instant::now(), limits }
    }

    /// None.
    pub(super) fn nothing() -> Self {
        Self::new(answer::Body::Bytes(Vec::new()), 0..0, Limits::default())
    }

    /// Whether the client has been too slow so far.
    fn is_too_slow(&self) -> bool {
        let elapsed = self.since.elapsed();
        let least = elapsed.as_secs().saturating_mul(self.limits.slowest);
        elapsed > self.limits.stall && self.taken < least
    }
}

/// So many bytes of a file that are in memory already; none where a disk would have to be waited
/// for, or the file system does not say.
fn read_at_once(file: &File, at: u64, size: usize) -> Option<Vec<u8>> {
    let mut piece = vec![0; size];
    let into = &mut [IoSliceMut::new(&mut piece)];
    let read = preadv2(file, into, at, ReadWriteFlags::NOWAIT).ok()?;
    piece.truncate(read);
    (read > 0).then_some(piece)
}

impl Body for Sent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if this.left.is_empty() {
            return Poll::Ready(None);
        }
        if this.is_too_slow() {
            return Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())));
        }
        let piece = match &mut this.from {
            From::Bytes(bytes) => {
                let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                bytes.slice(index(this.left.start)..index(this.left.end))
            }
            From::File { file, reading } => {
                let size = (this.left.end - this.left.start).min(PIECE);
                let size = usize::try_from(size).unwrap_or_default();
                let at = this.left.start;
                match reading.is_none().then(|| read_at_once(file, at, size)).flatten() {
                    Some(piece) => Bytes::from(piece),
                    None => {
                        let task = reading.get_or_insert_with(|| {
                            let file = Arc::clone(file);
                            tokio::task::spawn_blocking(move || {
                                let mut piece = vec![0; size];
                                file.read_exact_at(&mut piece, at).map(|()| piece)
                            })
                        });
                        let read = ready!(Pin::new(task).poll(context));
                        *reading = None;
                        Bytes::from(read.map_err(io::Error::other)??)
                    }
                }
            }
        };
        this.left.start += piece.len() as u64;
        this.taken += piece.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.end - self.left.start)
    }
}
