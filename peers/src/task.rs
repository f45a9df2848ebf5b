//! The task that holds a peer's state, and how the peer speaks to it.

use crate::fault::Fault;
use crate::limits;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// A running task and the way to it. The task is aborted, and closes everything, when this is
/// dropped.
#[derive(Debug)]
pub(crate) struct Task<C> {
    commands: mpsc::Sender<C>,
    handle: JoinHandle<()>,
}

impl<C: Send + 'static> Task<C> {
    /// Runs what `serve` makes of the receiving end, on the current tokio runtime.
    pub(crate) fn spawn<F>(serve: impl FnOnce(mpsc::Receiver<C>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (commands, receiver) = mpsc::channel(limits::COMMANDS);
        Self { commands, handle: tokio::spawn(serve(receiver)) }
    }

    /// Sends a command and waits for its reply.
    ///
    /// # Errors
    /// [`Fault::Stopped`].
    pub(crate) async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> C,
    ) -> Result<T, Fault> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.or(Err(Fault::Stopped))?;
        answer.await.or(Err(Fault::Stopped))
    }
}

impl<C> Drop for Task<C> {
    fn drop(&mut self) {
        self.handle.abort();
    }
}
