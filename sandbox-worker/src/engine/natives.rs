//! The native functions of the host API, `host` in its parts: few, small, and bounded by what
//! [`super::Host`] lets through.

use super::host::Stage;
use super::{Host, limits, part};
use crate::minibus::{Posted, Refused};
use rquickjs::function::IntoJsFunc;
use rquickjs::{Array, ArrayBuffer, CString, Ctx, FromJs, Function, IntoJs as _, Object, Value};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use url::{Url, quirks};

/// Marks of `post`, as in `bus.js`.
const ID_IS_NUMBER: u8 = 1;
const REPLY: u8 = 2;

type Shared = Rc<RefCell<Host>>;

/// A text that is looked at before it is copied out of the heap; `None` is one over `MAX` bytes.
struct Upto<const MAX: usize>(Option<String>);

impl<'js, const MAX: usize> FromJs<'js> for Upto<MAX> {
    fn from_js(ctx: &Ctx<'js>, value: Value<'js>) -> rquickjs::Result<Self> {
        if CString::from_js(ctx, value.clone())?.len() > MAX {
            return Ok(Self(None));
        }
        String::from_js(ctx, value).map(|text| Self(Some(text)))
    }
}

impl<const MAX: usize> Upto<MAX> {
    fn or(self, what: &str) -> Result<String, String> {
        self.0.ok_or_else(|| format!("{what} over {MAX} bytes"))
    }
}

/// Makes all of them.
pub(super) fn install<'js>(ctx: &Ctx<'js>, host: &Shared) -> rquickjs::Result<Object<'js>> {
    let object = Object::new(ctx.clone())?;
    stages(&object, host)?;
    time(&object, host)?;
    bus(&object, host)?;
    sockets(&object, host)?;
    http(&object, host)?;
    text(&object)?;
    put(&object, "part", |ctx: Ctx<'js>, name: String| part(&ctx, &format!("host:{name}.js")))?;
    Ok(object)
}

fn put<'js, P, F>(object: &Object<'js>, name: &str, function: F) -> rquickjs::Result<()>
where
    F: IntoJsFunc<'js, P> + 'js,
{
    object.set(name, Function::new(object.ctx().clone(), function)?)
}

fn stages(object: &Object<'_>, host: &Shared) -> rquickjs::Result<()> {
    let it = Rc::clone(host);
    put(object, "loaded", move || it.borrow_mut().loaded())?;
    let it = Rc::clone(host);
    put(object, "activated", move |name: String| it.borrow_mut().activated(&name))?;
    let it = Rc::clone(host);
    put(object, "failed", move |stage: String, text: String| {
        let stage = if stage == Stage::Load.name() { Stage::Load } else { Stage::Activate };
        it.borrow_mut().failed(stage, &text);
    })?;
    let it = Rc::clone(host);
    put(object, "uncaught", move |text: String| it.borrow_mut().uncaught(&text))?;
    let it = Rc::clone(host);
    put(object, "log", move |level: u8, text: String| it.borrow_mut().log(level, &text))?;
    let it = Rc::clone(host);
    put(object, "logs", move || {
        let mut host = it.borrow_mut();
        let now = host.now;
        let has = host.logs.has(now);
        if !has {
            host.logs.miss();
        }
        has
    })
}

fn time(object: &Object<'_>, host: &Shared) -> rquickjs::Result<()> {
    let it = Rc::clone(host);
    put(object, "now", move || it.borrow().now.as_secs_f64() * 1_000.0)?;
    let it = Rc::clone(host);
    put(object, "arm", move |id: u32, ms: f64| {
        let delay = Duration::try_from_secs_f64(ms / 1_000.0).unwrap_or(Duration::ZERO);
        let mut host = it.borrow_mut();
        let at = host.now.saturating_add(delay);
        host.timers.arm(id, at);
    })?;
    let it = Rc::clone(host);
    put(object, "disarm", move |id: u32| it.borrow_mut().timers.disarm(id))
}

fn refusal<'js>(ctx: &Ctx<'js>, refused: &Refused) -> rquickjs::Result<Value<'js>> {
    let answer = Object::new(ctx.clone())?;
    answer.set("code", refused.reason.code())?;
    answer.set("reason", refused.reason.token())?;
    answer.set("desc", refused.desc.as_str())?;
    Ok(answer.into_value())
}

fn bus<'js>(object: &Object<'js>, host: &Shared) -> rquickjs::Result<()> {
    let it = Rc::clone(host);
    let post = move |ctx: Ctx<'js>,
                     id: String,
                     kind: String,
                     from: String,
                     to: String,
                     body: String,
                     marks: u8| {
        let (id_is_number, reply) = (marks & ID_IS_NUMBER != 0, marks & REPLY != 0);
        let posted = Posted { id, id_is_number, kind, from, to, body, reply };
        let result = it.borrow_mut().post(&posted);
        match result {
            Ok(()) => Ok(Value::new_undefined(ctx)),
            Err(refused) => refusal(&ctx, &refused),
        }
    };
    put(object, "post", post)?;
    let it = Rc::clone(host);
    put(object, "listened", move || it.borrow_mut().listened = true)
}

/// `{conn, url}`, or `{error}`.
fn begun<'js>(
    ctx: &Ctx<'js>,
    result: Result<u32, String>,
    url: &str,
) -> rquickjs::Result<Object<'js>> {
    let answer = Object::new(ctx.clone())?;
    match result {
        Ok(conn) => {
            answer.set("conn", conn)?;
            answer.set("url", url)?;
        }
        Err(error) => answer.set("error", error)?,
    }
    Ok(answer)
}

/// An address with one of these schemes.
fn address(text: &str, schemes: &[&str]) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{text} is no address: {error}"))?;
    if !schemes.contains(&url.scheme()) || url.host_str().is_none() {
        return Err(format!("{text} is no address of {}", schemes.join(" or ")));
    }
    Ok(url)
}

fn sockets<'js>(object: &Object<'js>, host: &Shared) -> rquickjs::Result<()> {
    let it = Rc::clone(host);
    put(object, "wsOpen", move |ctx: Ctx<'js>, url: Target, protocols: Protocols| {
        let text = url.or("an address");
        let parsed = text.and_then(|url| address(&url, &["ws", "wss", "http", "https"]));
        let parsed = parsed.and_then(|mut url| {
            // A browser of today takes the http words for the ws ones.
            let scheme = match url.scheme() {
                "https" | "wss" => "wss",
                _ => "ws",
            };
            let port = url.port();
            url.set_scheme(scheme).map_err(|()| "the scheme cannot be changed".to_owned())?;
            url.set_port(port).map_err(|()| "the port cannot be kept".to_owned())?;
            url.set_fragment(None);
            Ok(url)
        });
        let shown = parsed.as_ref().map_or_else(|_e| String::new(), ToString::to_string);
        let result = parsed.and_then(|url| {
            let protocols = protocols.or("subprotocols")?;
            it.borrow_mut().ws_open(url, protocols)
        });
        begun(&ctx, result, &shown)
    })?;
    let count = |taken: Option<usize>| taken.and_then(|n| i32::try_from(n).ok()).unwrap_or(-1);
    let it = Rc::clone(host);
    put(object, "wsText", move |conn: u32, text: String| {
        count(it.borrow_mut().ws_text(conn, text))
    })?;
    let it = Rc::clone(host);
    put(object, "wsBinary", move |conn: u32, latin: String| {
        count(it.borrow_mut().ws_binary(conn, bytes_of(&latin)))
    })?;
    let it = Rc::clone(host);
    put(object, "wsClose", move |conn: u32, code: u16, reason: String| {
        it.borrow_mut().ws_close(conn, code, reason);
    })?;
    let it = Rc::clone(host);
    put(object, "listens", move || it.borrow().listens)
}

type Target = Upto<{ limits::URL_BYTES_MAX }>;
type Protocols = Upto<{ limits::WS_PROTOCOLS_BYTES }>;
type Method = Upto<{ limits::HTTP_METHOD_BYTES }>;
type HeaderText = Upto<{ limits::HTTP_HEAD_BYTES }>;
/// A character above 127 is two bytes of text.
type Latin = Upto<{ limits::HTTP_REQUEST_BYTES.saturating_mul(2) }>;

/// Bytes that came as characters up to 255.
fn bytes_of(latin: &str) -> Vec<u8> {
    latin.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
}

/// Names and values, one after the other; how many and how long they are is looked at on the way.
fn headers(flat: &Array<'_>) -> rquickjs::Result<Result<Vec<(String, String)>, String>> {
    if flat.len() > limits::HTTP_HEADERS_MAX.saturating_mul(2) {
        return Ok(Err(format!("more than {} headers", limits::HTTP_HEADERS_MAX)));
    }
    let (mut pairs, mut bytes) = (Vec::new(), 0_usize);
    for at in (0..flat.len()).step_by(2) {
        let name = flat.get::<HeaderText>(at)?.0;
        let value = flat.get::<HeaderText>(at.saturating_add(1))?.0;
        let (Some(name), Some(value)) = (name, value) else { return Ok(Err(too_long())) };
        bytes = bytes.saturating_add(name.len()).saturating_add(value.len());
        if bytes > limits::HTTP_HEAD_BYTES {
            return Ok(Err(too_long()));
        }
        pairs.push((name, value));
    }
    Ok(Ok(pairs))
}

fn too_long() -> String {
    format!("headers over {} bytes", limits::HTTP_HEAD_BYTES)
}

fn http<'js>(object: &Object<'js>, host: &Shared) -> rquickjs::Result<()> {
    let it = Rc::clone(host);
    put(
        object,
        "http",
        move |ctx: Ctx<'js>, method: Method, url: Target, flat: Array<'js>, latin: Latin| {
            let headers = headers(&flat)?;
            let result = url.or("an address").and_then(|url| {
                let mut url = address(&url, &["http", "https"])?;
                let body = bytes_of(&latin.or("a body")?);
                if body.len() > limits::HTTP_REQUEST_BYTES {
                    return Err(format!("a body over {} bytes", limits::HTTP_REQUEST_BYTES));
                }
                url.set_fragment(None);
                it.borrow_mut().http(method.or("a method")?, url, headers?, body)
            });
            begun(&ctx, result, "")
        },
    )?;
    let it = Rc::clone(host);
    put(object, "httpAbort", move |conn: u32| it.borrow_mut().http_abort(conn))
}

fn text<'js>(object: &Object<'js>) -> rquickjs::Result<()> {
    put(object, "encode", |ctx: Ctx<'js>, text: String| {
        ArrayBuffer::new_copy(ctx, text.as_bytes())
    })?;
    put(object, "decode", |ctx: Ctx<'js>, latin: String, fatal: bool| {
        let bytes = bytes_of(&latin);
        match String::from_utf8(bytes) {
            Ok(text) => text.into_js(&ctx),
            Err(_) if fatal => Ok(Value::new_undefined(ctx)),
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned().into_js(&ctx),
        }
    })?;
    put(object, "random", |ctx: Ctx<'js>, count: usize| {
        let mut bytes = vec![0_u8; count.min(65_536)];
        // Without a source of randomness nothing that looks like it is given out.
        rustls::crypto::ring::default_provider()
            .secure_random
            .fill(&mut bytes)
            .map_err(|_e| rquickjs::Exception::throw_message(&ctx, "there is no randomness"))?;
        ArrayBuffer::new_copy(ctx, bytes)
    })?;
    put(object, "url", |text: String, base: String| {
        let base = if base.is_empty() { None } else { Some(Url::parse(&base).ok()?) };
        Url::options().base_url(base.as_ref()).parse(&text).ok().map(|url| parts(&url))
    })?;
    put(object, "urlSet", |href: String, part: String, value: String| {
        let mut url = Url::parse(&href).ok()?;
        let done = match part.as_str() {
            "href" => {
                url = Url::parse(&value).ok()?;
                Ok(())
            }
            "protocol" => quirks::set_protocol(&mut url, &value),
            "username" => quirks::set_username(&mut url, &value),
            "password" => quirks::set_password(&mut url, &value),
            "host" => quirks::set_host(&mut url, &value),
            "hostname" => quirks::set_hostname(&mut url, &value),
            "port" => quirks::set_port(&mut url, &value),
            "pathname" => {
                quirks::set_pathname(&mut url, &value);
                Ok(())
            }
            "search" => {
                quirks::set_search(&mut url, &value);
                Ok(())
            }
            "hash" => {
                quirks::set_hash(&mut url, &value);
                Ok(())
            }
            _ => Err(()),
        };
        done.ok().map(|()| parts(&url))
    })
}

/// In the order of `PARTS` in `encoding.js`.
fn parts(url: &Url) -> Vec<String> {
    vec![
        quirks::href(url).to_owned(),
        quirks::origin(url),
        quirks::protocol(url).to_owned(),
        quirks::username(url).to_owned(),
        quirks::password(url).to_owned(),
        quirks::host(url).to_owned(),
        quirks::hostname(url).to_owned(),
        quirks::port(url).to_owned(),
        quirks::pathname(url).to_owned(),
        quirks::search(url).to_owned(),
        quirks::hash(url).to_owned(),
    ]
}
