//! The JavaScript engine with one component: everything that happens to it goes in by a call, what
//! it wants comes out as a list. No sockets, no clock of its own: it is told the time. The one
//! exception is the interrupt that ends a turn which takes too long.

pub(crate) mod bucket;
mod dial;
mod host;
pub(crate) mod limits;
mod load;
mod natives;
#[cfg(test)]
mod tests;
mod watch;

pub(crate) use host::{Attempt, Host, HttpRequest, Out, Stage, host_of};

use crate::hostapi::{FIRST, PARTS};
use host::Rejections;
use limits::{HEAP_BYTES, SLICE, STACK_BYTES, TURN, TURN_LOAD};
use protocol::ctl::HostProfile;
use rquickjs::loader::Loader as _;
use rquickjs::loader::bundle::Bundle;
use rquickjs::{
    ArrayBuffer, CatchResultExt as _, CaughtError, Context, Ctx, Function, Object, Persistent,
    Runtime, Value,
};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};
use watch::Watch;

/// The engine cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("the JavaScript engine cannot be set up: {0}")]
pub(crate) struct EngineFault(String);

/// The component that is put in.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// Its address.
    pub(crate) component: String,
    /// Address of the runtime.
    pub(crate) runtime_url: String,
    /// Configuration as JSON text.
    pub(crate) config: String,
    /// Which host API it sees.
    pub(crate) profile: HostProfile,
    /// Bytes of heap.
    pub(crate) memory_bytes: usize,
    /// Longest turn.
    pub(crate) turn: Duration,
}

/// What became of a message that was handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// A listener or a callback has it.
    Taken,
    /// Nobody listens to its address, nor to all.
    NoListener,
    /// It is no JSON, or does not fit into the heap.
    Broken,
}

/// What the network did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Net {
    /// A WebSocket is open.
    WsOpened { conn: u32, protocol: String },
    /// One came in, from a runtime of the domain `peer`.
    WsAccepted { conn: u32, peer: String, from: String },
    /// It brought text.
    WsText { conn: u32, text: String },
    /// It brought bytes.
    WsBinary { conn: u32, bytes: Vec<u8> },
    /// So many bytes of one message were handed over.
    WsSent { conn: u32, bytes: usize },
    /// It is closed; `error` is empty if in order.
    WsClosed { conn: u32, code: u16, reason: String, clean: bool, error: String },
    /// The head of a response.
    HttpHead { conn: u32, status: u16, text: String, headers: Vec<String>, url: String },
    /// A part of its body.
    HttpChunk { conn: u32, bytes: Vec<u8> },
    /// Its end; `error` is empty if all of it came.
    HttpEnd { conn: u32, error: String },
}

/// The engine.
pub(crate) struct Engine {
    // Handles into the heap are dropped before the heap.
    api: Persistent<Object<'static>>,
    rejections: Rejections,
    host: Rc<RefCell<Host>>,
    watch: Rc<Watch>,
    turn: Duration,
    context: Context,
    runtime: Runtime,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("host", &self.host).finish_non_exhaustive()
    }
}

fn fault(error: impl std::fmt::Display) -> EngineFault {
    EngineFault(error.to_string())
}

impl Engine {
    /// An engine with the host API and without a component.
    ///
    /// # Errors
    /// No memory.
    pub(crate) fn new() -> Result<Self, EngineFault> {
        let runtime = Runtime::new().map_err(fault)?;
        runtime.set_memory_limit(HEAP_BYTES);
        runtime.set_max_stack_size(STACK_BYTES);
        let watch = Rc::new(Watch::default());
        let watcher = Rc::clone(&watch);
        runtime.set_interrupt_handler(Some(Box::new(move || watcher.is_over())));
        let rejections = Rejections::default();
        let tracked = rejections.clone();
        runtime.set_host_promise_rejection_tracker(Some(Box::new(
            move |ctx, promise, reason, handled| tracked.track(&ctx, promise, reason, handled),
        )));
        runtime.set_loader(load::Offered, load::Offered);
        let context = Context::full(&runtime).map_err(fault)?;
        let host = Rc::new(RefCell::new(Host::new()));
        let api = context.with(|ctx| {
            set_up(&ctx, &host)
                .map(|api| Persistent::save(&ctx, api))
                .catch(&ctx)
                .map_err(|error| fault(describe(&error)))
        })?;
        Ok(Self { api, rejections, host, watch, turn: TURN, context, runtime })
    }

    /// Prepares the place for a component.
    pub(crate) fn prepare(&mut self, setup: &Setup) {
        self.turn = if setup.turn.is_zero() { TURN } else { setup.turn };
        self.runtime.set_memory_limit(setup.memory_bytes);
        self.host.borrow_mut().component.clone_from(&setup.component);
        let window = setup.profile == HostProfile::Window;
        let place = setup.runtime_url.clone();
        self.run("the preparation", TURN, |_ctx, api| {
            api.get::<_, Function<'_>>("place")?.call::<_, ()>((place,))?;
            if window { api.get::<_, Function<'_>>("window")?.call(()) } else { Ok(()) }
        });
    }

    /// Loads code in any of the published forms; [`Out::Loaded`] or [`Out::Failed`] tells how it
    /// went, at once or later.
    pub(crate) fn load(&mut self, now: Duration, code: &[u8]) {
        self.begin(now, Stage::Load);
        let text = load::text_of(code);
        let result = self.attempt(TURN_LOAD, |ctx, api| load::load(ctx, api, &text));
        self.settle(Stage::Load, result);
    }

    /// Activates what was loaded; [`Out::Activated`] or [`Out::Failed`] tells how it went, at once
    /// or later.
    pub(crate) fn activate(&mut self, now: Duration, setup: &Setup) {
        self.begin(now, Stage::Activate);
        let Setup { component, config, runtime_url, .. } = setup.clone();
        let result = self.attempt(TURN_LOAD, |_ctx, api| {
            let activate: Function<'_> = api.get("activate")?;
            activate.call::<_, ()>((component, config, runtime_url))
        });
        self.settle(Stage::Activate, result);
    }

    fn begin(&mut self, now: Duration, stage: Stage) {
        let mut host = self.host.borrow_mut();
        host.now = now;
        host.stage = Some(stage);
    }

    /// Ends a stage whose turn was cut short.
    fn settle(&mut self, stage: Stage, result: Result<(), String>) {
        let failed = match result {
            Err(text) => Some(text),
            Ok(()) if self.watch.tripped() => Some(self.watch.complaint()),
            Ok(()) => None,
        };
        if let Some(text) = failed {
            self.host.borrow_mut().failed(stage, &text);
        }
    }

    /// Hands a message in.
    pub(crate) fn deliver(&mut self, now: Duration, json: &[u8]) -> Delivery {
        {
            let mut host = self.host.borrow_mut();
            host.now = now;
            host.posts.earn();
        }
        let mut delivery = Delivery::Broken;
        self.run("a message", self.turn, |ctx, api| {
            let Ok(message) = ctx.json_parse(json) else {
                ctx.catch();
                return Ok(());
            };
            // Whatever the listeners do, it is theirs now.
            delivery = Delivery::Taken;
            if !api.get::<_, Function<'_>>("deliver")?.call::<_, bool>((message,))? {
                delivery = Delivery::NoListener;
            }
            Ok(())
        });
        delivery
    }

    /// Tells what the network did.
    pub(crate) fn net(&mut self, now: Duration, event: Net) {
        self.host.borrow_mut().note(now, &event);
        self.run("a network event", self.turn, |ctx, api| {
            let call = |name: &str| api.get::<_, Function<'_>>(name);
            let buffer = |bytes: &[u8]| ArrayBuffer::new_copy(ctx.clone(), bytes);
            match event {
                Net::WsOpened { conn, protocol } => call("wsOpened")?.call((conn, protocol)),
                Net::WsAccepted { conn, peer, from } => {
                    call("wsAccepted")?.call((conn, peer, from))
                }
                Net::WsText { conn, text } => call("wsMessage")?.call((conn, text)),
                Net::WsBinary { conn, bytes } => call("wsMessage")?.call((conn, buffer(&bytes)?)),
                Net::WsSent { conn, bytes } => call("wsSent")?.call((conn, bytes)),
                Net::WsClosed { conn, code, reason, clean, error } => {
                    call("wsClosed")?.call((conn, code, reason, clean, error))
                }
                Net::HttpHead { conn, status, text, headers, url } => {
                    call("httpHead")?.call((conn, status, text, headers, url))
                }
                Net::HttpChunk { conn, bytes } => call("httpChunk")?.call((conn, buffer(&bytes)?)),
                Net::HttpEnd { conn, error } => call("httpEnd")?.call((conn, error)),
            }
        });
        self.host.borrow_mut().heard = None;
    }

    /// Lets time pass: timers, delayed connections, promise jobs, until nothing is due or the slice
    /// is used up.
    pub(crate) fn tick(&mut self, now: Duration) {
        self.host.borrow_mut().now = now;
        let begun = Instant::now();
        self.run_jobs();
        while begun.elapsed() < SLICE {
            let Some(timer) = self.host.borrow_mut().timers.due(now) else { break };
            self.run("a timer", self.turn, |_ctx, api| {
                api.get::<_, Function<'_>>("fire")?.call((timer,))
            });
        }
        self.host.borrow_mut().dial_due();
    }

    /// When [`Engine::tick`] has something to do.
    pub(crate) fn next_tick(&self) -> Option<Duration> {
        let host = self.host.borrow();
        if self.runtime.is_job_pending() { Some(host.now) } else { host.next_tick() }
    }

    /// Whether the component is given connections that come in.
    pub(crate) fn set_listens(&mut self, listens: bool) {
        self.host.borrow_mut().listens = listens;
    }

    /// Whether the link takes no more messages: what is posted is then refused.
    pub(crate) fn set_link_full(&mut self, full: bool) {
        self.host.borrow_mut().link_full = full;
    }

    /// A line could not be handed on.
    pub(crate) fn lost_line(&mut self) {
        self.host.borrow_mut().logs.miss();
    }

    /// Whether a listener was added since this was last asked.
    pub(crate) fn take_listened(&mut self) -> bool {
        std::mem::take(&mut self.host.borrow_mut().listened)
    }

    /// Asks the component to end.
    pub(crate) fn stop(&mut self, now: Duration) {
        self.host.borrow_mut().now = now;
        self.run("the end", self.turn, |_ctx, api| api.get::<_, Function<'_>>("stop")?.call(()));
    }

    /// Connections that are open or wanted.
    #[cfg(test)]
    pub(crate) fn connections(&self) -> usize {
        self.host.borrow().dial.count()
    }

    /// Timers that are armed.
    #[cfg(test)]
    pub(crate) fn timers(&self) -> usize {
        self.host.borrow().timers.count()
    }

    /// The next thing that the component wants.
    pub(crate) fn next_out(&mut self) -> Option<Out> {
        self.host.borrow_mut().next_out()
    }

    /// One turn: `body`, then the jobs that it left. What it throws is reported.
    fn run(
        &mut self,
        what: &str,
        limit: Duration,
        body: impl for<'js> FnOnce(&Ctx<'js>, &Object<'js>) -> rquickjs::Result<()>,
    ) {
        if let Err(text) = self.attempt(limit, body) {
            self.host.borrow_mut().uncaught(&format!("in {what}: {text}"));
        }
    }

    /// One turn; what it throws is the result.
    fn attempt(
        &mut self,
        limit: Duration,
        body: impl for<'js> FnOnce(&Ctx<'js>, &Object<'js>) -> rquickjs::Result<()>,
    ) -> Result<(), String> {
        self.watch.begin(limit);
        let api = self.api.clone();
        let result = self.context.with(|ctx| {
            let result = api.restore(&ctx).and_then(|api| body(&ctx, &api)).catch(&ctx);
            result.map_err(|error| {
                if self.watch.tripped() { self.watch.complaint() } else { describe(&error) }
            })
        });
        self.run_jobs();
        result
    }

    /// Runs promise jobs for at most one slice; each may take a turn.
    fn run_jobs(&mut self) {
        let begun = Instant::now();
        loop {
            self.watch.go_on(self.turn);
            match self.runtime.execute_pending_job() {
                Ok(true) if begun.elapsed() < SLICE => {}
                Ok(_) => break,
                Err(failed) => {
                    let text = failed.0.with(|ctx| {
                        let error = CaughtError::from_error(&ctx, rquickjs::Error::Exception);
                        if self.watch.tripped() { self.watch.complaint() } else { describe(&error) }
                    });
                    self.host.borrow_mut().uncaught(&format!("in a promise job: {text}"));
                }
            }
        }
        self.watch.end();
        let host = Rc::clone(&self.host);
        let rejections = self.rejections.clone();
        self.context.with(|ctx| {
            for text in rejections.take(&ctx) {
                host.borrow_mut().uncaught(&format!("unhandled rejection: {text}"));
            }
        });
    }
}

fn set_up<'js>(ctx: &Ctx<'js>, host: &Rc<RefCell<Host>>) -> rquickjs::Result<Object<'js>> {
    let natives = natives::install(ctx, host)?;
    let api = Object::new(ctx.clone())?;
    for name in FIRST {
        let part = part(ctx, name)?;
        part.call::<_, ()>((natives.clone(), ctx.globals(), api.clone()))?;
    }
    Ok(api)
}

/// The function that a part of the host API is.
fn part<'js>(ctx: &Ctx<'js>, name: &str) -> rquickjs::Result<Function<'js>> {
    let (module, evaluated) = Bundle(PARTS).load(ctx, name, None)?.eval()?;
    evaluated.finish::<()>()?;
    module.get("default")
}

/// Text of what was thrown.
fn describe(error: &CaughtError<'_>) -> String {
    match error {
        CaughtError::Error(error) => error.to_string(),
        CaughtError::Exception(exception) => describe_value(exception.as_value()),
        CaughtError::Value(value) => describe_value(value),
    }
}

fn describe_value(value: &Value<'_>) -> String {
    let ctx = value.ctx();
    let shown = value.as_exception().map(|exception| {
        let name = exception.get::<_, String>("name").unwrap_or_else(|_e| "Error".to_owned());
        let message = exception.message().unwrap_or_default();
        let stack = exception.stack().unwrap_or_default();
        format!("{name}: {message}\n{stack}")
    });
    let shown = shown.or_else(|| value.as_string().and_then(|text| text.to_string().ok()));
    let shown = shown.or_else(|| {
        let text = ctx.json_stringify(value.clone()).ok().flatten();
        text.and_then(|text| text.to_string().ok())
    });
    // A getter that throws leaves its exception behind.
    ctx.catch();
    shown.unwrap_or_else(|| "something that cannot be shown".to_owned()).trim_end().to_owned()
}
