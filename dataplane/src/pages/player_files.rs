//! Which files a page with a player loads, from the manifest that the build writes.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::html::escape;
use crate::web_files::WebFiles;

/// The script of pages with a player, in the manifest.
const ENTRY: &str = "src/page.ts";

/// An entry of the manifest of Vite.
#[derive(Deserialize)]
struct Entry {
    file: String,
    #[serde(default)]
    imports: Vec<String>,
    #[serde(default)]
    css: Vec<String>,
}

/// The links and scripts of a page with a player, as HTML for its head; `None` if the player was
/// not built.
pub(super) fn links(files: &WebFiles) -> Option<String> {
    let manifest = files.get("player/manifest.json")?;
    let manifest: BTreeMap<String, Entry> = serde_json::from_slice(manifest).ok()?;
    let entry = manifest.get(ENTRY)?;
    let (mut imported, mut styles) = (BTreeSet::new(), BTreeSet::new());
    let mut pending = vec![entry];
    while let Some(entry) = pending.pop() {
        styles.extend(&entry.css);
        for import in &entry.imports {
            let import = manifest.get(import);
            pending.extend(import.filter(|import| imported.insert(&import.file)));
        }
    }
    let mut written = String::new();
    for style in styles {
        written += &format!("<link rel=\"stylesheet\" href=\"../player/{}\">\n", escape(style));
    }
    for file in imported {
        written += &format!("<link rel=\"modulepreload\" href=\"../player/{}\">\n", escape(file));
    }
    let script = escape(&entry.file);
    Some(format!("{written}<script type=\"module\" src=\"../player/{script}\"></script>\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_loads_its_script_and_everything_that_it_imports_once() {
        let manifest = r#"{
            "src/page.ts": {"file": "page-1.js", "imports": ["src/player.ts", "_a.js"]},
            "src/player.ts": {"file": "player-2.js", "imports": ["_a.js"], "css": ["player-3.css"]},
            "_a.js": {"file": "a-4.js", "imports": ["src/player.ts"]},
            "other.ts": {"file": "other-5.js"}
        }"#;
        let file = ("player/manifest.json".to_owned(), manifest.into());
        let expected = "<link rel=\"stylesheet\" href=\"../player/player-3.css\">\n\
            <link rel=\"modulepreload\" href=\"../player/a-4.js\">\n\
            <link rel=\"modulepreload\" href=\"../player/player-2.js\">\n\
            <script type=\"module\" src=\"../player/page-1.js\"></script>\n";
        assert_eq!(links(&WebFiles::new([file])).unwrap(), expected);
        assert_eq!(links(&WebFiles::new([])), None);
    }
}
