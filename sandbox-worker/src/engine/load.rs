//! How a piece of code goes in: as a script in a function or, if it is none, as a module.

use super::describe;
use rquickjs::loader::{ImportAttributes, Loader, Resolver};
use rquickjs::module::Declared;
use rquickjs::{CatchResultExt as _, CaughtError, Ctx, Error, Exception, Function, Module, Object};
use std::borrow::Cow;

/// Name of the component's code in its errors.
const NAME: &str = "component.js";

/// Text of the code: published files hold invalid UTF-8.
pub(super) fn text_of(code: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(code.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(code))
}

/// Whether a line looks as only a module has it. Strings and comments may look so, too: it only
/// decides which complaint is shown.
fn looks_like_module(text: &str) -> bool {
    text.split(['\n', ';', '}']).map(str::trim_start).any(|line| {
        ["export", "import"].iter().any(|word| {
            line.strip_prefix(word)
                .is_some_and(|rest| rest.starts_with([' ', '{', '*', '\'', '"', '\t', '\n', '\r']))
        })
    })
}

/// Loads the code; what it exports is found by the host API. What is a script goes in as one, as
/// sloppy as it was written: as a module it would be strict and see no `exports`.
pub(super) fn load<'js>(ctx: &Ctx<'js>, api: &Object<'js>, text: &str) -> rquickjs::Result<()> {
    let Err(as_script) = script(ctx, api, text)? else { return Ok(()) };
    let Err(as_module) = module(ctx, api, text)? else { return Ok(()) };
    let complaint = if looks_like_module(text) { as_module } else { as_script };
    Err(Exception::throw_syntax(ctx, &complaint))
}

/// A grammar that does not fit is what the parser said; anything else goes on as an error.
type Parsed = Result<(), String>;

/// Splits a failed compilation: a syntax error may fit the other way, anything else may not.
fn compiled<T>(ctx: &Ctx<'_>, result: rquickjs::Result<T>) -> rquickjs::Result<Result<T, String>> {
    match result.catch(ctx) {
        Ok(value) => Ok(Ok(value)),
        Err(CaughtError::Exception(exception)) => {
            let name = exception.get::<_, String>("name").unwrap_or_default();
            if name != "SyntaxError" {
                return Err(exception.throw());
            }
            let text = describe(&CaughtError::Exception(exception));
            Ok(Err(text.strip_prefix("SyntaxError: ").unwrap_or(&text).to_owned()))
        }
        Err(error) => Err(error.throw(ctx)),
    }
}

fn script<'js>(ctx: &Ctx<'js>, api: &Object<'js>, text: &str) -> rquickjs::Result<Parsed> {
    let compile: Function<'_> = api.get("compile")?;
    match compiled(ctx, compile.call::<_, Function<'_>>((text,)))? {
        Ok(body) => api.get::<_, Function<'_>>("run")?.call::<_, ()>((body,)).map(Ok),
        Err(complaint) => Ok(Err(complaint)),
    }
}

fn module<'js>(ctx: &Ctx<'js>, api: &Object<'js>, text: &str) -> rquickjs::Result<Parsed> {
    let declared = match compiled(ctx, Module::declare(ctx.clone(), NAME, text))? {
        Ok(declared) => declared,
        Err(complaint) => return Ok(Err(complaint)),
    };
    let (module, pending) = declared.eval()?;
    let evaluated: Function<'_> = api.get("evaluated")?;
    evaluated.call::<_, ()>((pending, module.namespace()?)).map(Ok)
}

/// `import` of what `require` offers; everything else is not there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offered;

impl Resolver for Offered {
    fn resolve<'js>(
        &mut self,
        _ctx: &Ctx<'js>,
        base: &str,
        name: &str,
        _attributes: Option<ImportAttributes<'js>>,
    ) -> rquickjs::Result<String> {
        if matches!(name, "ws" | "atob" | "btoa") {
            Ok(name.to_owned())
        } else {
            Err(Error::new_resolving_message(base, name, "there is no such module here"))
        }
    }
}

impl Loader for Offered {
    fn load<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        name: &str,
        _attributes: Option<ImportAttributes<'js>>,
    ) -> rquickjs::Result<Module<'js, Declared>> {
        Module::declare(ctx.clone(), name, format!("export default require('{name}');"))
    }
}

#[cfg(test)]
mod tests {
    use super::{looks_like_module, text_of};

    #[test]
    fn only_lines_that_begin_so_look_like_a_module() {
        for yes in ["export default 1", "var a;export{a}", "  import x from 'y'", "import'z'"] {
            assert!(looks_like_module(yes), "{yes}");
        }
        for no in ["exports.default = a", "important()", "var x = 'export default'", "exporter {"] {
            assert!(!looks_like_module(no), "{no}");
        }
    }

    #[test]
    fn code_is_read_whatever_its_bytes_are() {
        assert_eq!(text_of(b"\xEF\xBB\xBFa\xFFb"), "a\u{FFFD}b");
    }
}
