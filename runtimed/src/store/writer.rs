//! The thread that owns the file. It has one job at a time; the daemon never waits for it.

use super::file::StoreFile;
use runtime_core::Change;
use std::io;
use std::sync::mpsc as jobs;
use tokio::sync::mpsc as answers;

/// What the thread is to do.
#[derive(Debug)]
pub(crate) enum Job {
    /// Commit these changes.
    Commit(Vec<Change>),
    /// Move everything into the file and end.
    End,
}

/// What came of a job.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// All is committed.
    Committed,
    /// Nothing is; here is what was asked for.
    Failed {
        /// The changes.
        changes: Vec<Change>,
        /// What happened.
        text: String,
        /// Whether trying again is of no use.
        lasting: bool,
    },
    /// The file is closed.
    Ended,
}

/// The daemon's end of the thread.
#[derive(Debug)]
pub(crate) struct Writer {
    jobs: jobs::SyncSender<Job>,
}

impl Writer {
    /// Starts the thread. Signals that this thread blocks stay blocked in it.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(file: StoreFile) -> io::Result<(Self, answers::Receiver<Outcome>)> {
        let (jobs, todo) = jobs::sync_channel(1);
        let (done, outcomes) = answers::channel(1);
        std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || work(file, &todo, &done))?;
        Ok((Self { jobs }, outcomes))
    }

    /// Hands over a job; the thread must have answered the last one.
    ///
    /// # Errors
    /// The job, if the thread does not take it.
    pub(crate) fn give(&self, job: Job) -> Result<(), Job> {
        self.jobs.try_send(job).map_err(|error| match error {
            jobs::TrySendError::Full(job) | jobs::TrySendError::Disconnected(job) => job,
        })
    }
}

fn work(mut file: StoreFile, jobs: &jobs::Receiver<Job>, done: &answers::Sender<Outcome>) {
    while let Ok(job) = jobs.recv() {
        let outcome = match job {
            Job::Commit(changes) => match file.commit(&changes) {
                Ok(()) => Outcome::Committed,
                Err(fault) => Outcome::Failed { changes, text: fault.text, lasting: fault.lasting },
            },
            Job::End => break,
        };
        if done.blocking_send(outcome).is_err() {
            return;
        }
    }
    if let Err(fault) = file.settle() {
        tracing::warn!(fault = fault.text, "the store's log is left for the next start");
    }
    drop(file);
    // Nobody may be there to hear it any more.
    let _heard = done.blocking_send(Outcome::Ended);
}
