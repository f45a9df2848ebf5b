//! Compiles the host API, so that no worker parses it at its start.

use rquickjs::{
    CatchResultExt as _, Context, Module, Runtime, WriteOptions, WriteOptionsEndianness,
};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new("src/hostapi");
    println!("cargo::rerun-if-changed={}", folder.display());
    let out = PathBuf::from(env::var("OUT_DIR")?);
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let (Some(stem), Some("js")) =
            (path.file_stem(), path.extension().and_then(|end| end.to_str()))
        else {
            continue;
        };
        let compiled = compile(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        fs::write(out.join(stem).with_extension("bytecode"), compiled)?;
    }
    Ok(())
}

/// The part as a module that exports its function. Names and lines stay, for the traces of errors;
/// the text goes, because nobody may read it and every worker would hold it.
fn compile(path: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    let name = path.file_name().and_then(|name| name.to_str()).ok_or("a name that is no text")?;
    // On the same line, so that the lines are those of the file.
    let text = fs::read_to_string(path)?;
    let (comments, function) = text.split_at(text.find("(function").ok_or("no function")?);
    let source = format!("{comments}export default {function}");
    let endianness = match env::var("CARGO_CFG_TARGET_ENDIAN")?.as_str() {
        "little" => WriteOptionsEndianness::Little,
        _ => WriteOptionsEndianness::Big,
    };
    let runtime = Runtime::new()?;
    let context = Context::full(&runtime)?;
    context.with(|ctx| {
        let written =
            Module::declare(ctx.clone(), format!("host:{name}"), source).and_then(|part| {
                let strip_source = true;
                part.write(WriteOptions { endianness, strip_source, ..WriteOptions::default() })
            });
        written.catch(&ctx).map_err(|error| error.to_string().into())
    })
}
