//! A catalogue as a folder, for `catalogue = "file://…"`.

use std::fs;
use std::path::Path;

use crate::descriptor::Stub;
use crate::fault::Fault;

/// How a stub lies in the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `protocolstub/<name>`: a descriptor with the code inside, in base64.
    Inline,
    /// `protocolstub/<name>.ps.json`, and the code beside it in `protocolstub/<name>.ps.js`.
    Beside,
}

/// Writes a stub into the catalogue folder `dir` under `name`, and makes the folder if needed.
///
/// # Errors
/// [`Fault::Io`] if a file cannot be written.
pub fn write_folder(dir: &Path, name: &str, layout: Layout, stub: &Stub) -> Result<(), Fault> {
    let folder = dir.join("protocolstub");
    fs::create_dir_all(&folder).map_err(Fault::io("make the catalogue folder"))?;
    let write = |file: String, text: String| {
        fs::write(folder.join(file), text).map_err(Fault::io("write to the catalogue folder"))
    };
    match layout {
        Layout::Inline => write(name.to_owned(), stub.inline_base64().to_string()),
        Layout::Beside => {
            write(format!("{name}.ps.js"), stub.code.clone())?;
            write(format!("{name}.ps.json"), stub.ps_json().to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_layouts_are_where_the_catalogue_rules_look() {
        let dir = tempfile::tempdir().unwrap();
        let stub = Stub::connecting_to("ws://127.0.0.1:9/ws", "1;");
        write_folder(dir.path(), "default", Layout::Inline, &stub).unwrap();
        write_folder(dir.path(), "a.example", Layout::Beside, &stub).unwrap();
        let read = |file: &str| fs::read_to_string(dir.path().join("protocolstub").join(file));
        assert_eq!(read("default").unwrap(), stub.inline_base64().to_string());
        assert_eq!(read("a.example.ps.js").unwrap(), "1;");
        assert_eq!(read("a.example.ps.json").unwrap(), stub.ps_json().to_string());
    }
}
