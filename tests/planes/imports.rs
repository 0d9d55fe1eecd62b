//! The import graph of a program: which file imports which, and the circles in it.
//!
//! A path that begins with `crate`, `super` or `self` imports the file that defines its longest
//! existing module. A file and the files in its own folder belong together, so that imports between
//! them do not count.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::rust::{Import, imports, shipped, tokens};

/// A module's path from the root of its crate; empty for the root.
type Module = Vec<String>;

/// The files of one crate, by the module that each defines.
pub(crate) struct Tree {
    files: BTreeMap<Module, File>,
}

struct File {
    path: String,
    imports: Vec<Import>,
}

/// An import of one file by another, for messages.
#[derive(Clone)]
struct ImportEdge {
    line: usize,
    importer: Module,
    imported: Module,
}

/// Imports between nodes: files or siblings.
type Graph = BTreeMap<Module, BTreeMap<Module, ImportEdge>>;

/// The module that a file below `src/` defines.
fn module(path: &str) -> Module {
    let mut names: Module = path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if names.last().is_some_and(|name| name == "mod") || path == "lib.rs" || path == "main.rs" {
        names.pop();
    }
    names
}

/// Whether one of the modules is in the folder of the other.
fn nested(a: &Module, b: &Module) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

impl Tree {
    /// Reads files, given as paths below `src/` and their texts. Files that exist only in tests are
    /// left out, and `main.rs` beside `lib.rs`, which is a crate of its own.
    pub(crate) fn new(files: &[(String, String)]) -> Self {
        let library = files.iter().any(|(path, _)| path == "lib.rs");
        let mut tree = Self { files: BTreeMap::new() };
        let mut tests: Vec<Module> = Vec::new();
        for (path, text) in files {
            if library && path == "main.rs" {
                continue;
            }
            let (module, shipped) = (module(path), shipped(tokens(text)));
            for name in shipped.test_modules {
                tests.push([module.as_slice(), &[name]].concat());
            }
            let imports = imports(&shipped.tokens);
            tree.files.insert(module, File { path: path.clone(), imports });
        }
        tree.files.retain(|module, _| !tests.iter().any(|test| module.starts_with(test)));
        tree
    }

    /// The paths that a file imports: those into its own crate from the crate's root and beginning
    /// with `crate`, the others as they are written.
    pub(crate) fn paths(&self, path: &str) -> Vec<(usize, String)> {
        let Some(file) = self.files.get(&module(path)) else { return Vec::new() };
        let text = |import: &Import| {
            let inside = absolute(&module(path), import);
            let names = inside.map(|names| [vec!["crate".to_owned()], names].concat());
            (import.line, names.unwrap_or_else(|| import.path.clone()).join("::"))
        };
        file.imports.iter().map(text).collect()
    }

    /// Every import of one file by another, without those between a file and its own folder.
    fn graph(&self) -> Graph {
        let mut graph = Graph::new();
        for (importer, file) in &self.files {
            let edges = graph.entry(importer.clone()).or_default();
            for import in &file.imports {
                let Some(names) = absolute(importer, import) else { continue };
                let imported = self.definer(&names);
                if !nested(importer, &imported) {
                    let edge =
                        ImportEdge { line: import.line, importer: importer.clone(), imported };
                    edges.entry(edge.imported.clone()).or_insert(edge);
                }
            }
        }
        graph
    }

    /// The longest prefix of a path that is a module with a file of its own.
    fn definer(&self, names: &[String]) -> Module {
        let lengths = (0..=names.len()).rev();
        let mut prefixes = lengths.map(|length| names[..length].to_vec());
        prefixes.find(|prefix| self.files.contains_key(prefix)).unwrap_or_default()
    }

    fn path(&self, module: &Module) -> &str {
        self.files.get(module).map_or("lib.rs", |file| &file.path)
    }

    /// The circles of imports between files, one for each group of files that import one another.
    pub(crate) fn file_circles(&self) -> Vec<String> {
        self.circles(&self.graph())
    }

    /// The circles of imports between siblings. A file `a.rs` and the files in its folder `a` are
    /// one sibling.
    pub(crate) fn sibling_circles(&self) -> Vec<String> {
        let files = self.graph();
        let mut siblings = Graph::new();
        for edge in files.values().flat_map(BTreeMap::values) {
            let pairs = edge.importer.iter().zip(&edge.imported);
            let shared = pairs.take_while(|(a, b)| a == b).count();
            let (from, to) = (&edge.importer[..=shared], &edge.imported[..=shared]);
            let edges = siblings.entry(from.to_vec()).or_default();
            edges.entry(to.to_vec()).or_insert_with(|| edge.clone());
        }
        self.circles(&siblings)
    }

    fn circles(&self, graph: &Graph) -> Vec<String> {
        let mut seen: BTreeSet<&Module> = BTreeSet::new();
        let mut circles = Vec::new();
        for start in graph.keys() {
            if seen.contains(start) {
                continue;
            }
            let Some(circle) = shortest_circle(graph, start) else { continue };
            let reached = reachable(graph, start);
            let knot = reached.iter().filter(|module| reachable(graph, module).contains(start));
            let knot: Vec<&Module> = knot.copied().collect();
            let edges = circle.iter().map(|edge| {
                let (from, to) = (self.path(&edge.importer), self.path(&edge.imported));
                format!("{from}:{} imports {to}", edge.line)
            });
            let text = edges.collect::<Vec<_>>().join(", ");
            circles.push(match knot.len() - circle.len() {
                0 => text,
                more => format!("{text} (and {more} more that import one another)"),
            });
            seen.extend(knot);
        }
        circles
    }
}

/// A path into this crate as names from the crate's root; none for a path into another crate.
fn absolute(file: &Module, import: &Import) -> Option<Module> {
    let mut names: Module = [file.as_slice(), &import.within].concat();
    let mut path = import.path.as_slice();
    match path.first().map(String::as_str) {
        Some("crate") => names.clear(),
        Some("self" | "super") => {}
        _ => return None,
    }
    while let Some(first @ ("crate" | "self" | "super")) = path.first().map(String::as_str) {
        if first == "super" {
            names.pop();
        }
        path = &path[1..];
    }
    names.extend_from_slice(path);
    Some(names)
}

fn reachable<'a>(graph: &'a Graph, start: &Module) -> BTreeSet<&'a Module> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&Module> = graph.get(start).into_iter().flat_map(BTreeMap::keys).collect();
    while let Some(module) = open.pop() {
        if reached.insert(module) {
            open.extend(graph.get(module).into_iter().flat_map(BTreeMap::keys));
        }
    }
    reached
}

/// A shortest way from `start` back to itself.
fn shortest_circle<'a>(graph: &'a Graph, start: &'a Module) -> Option<Vec<&'a ImportEdge>> {
    let mut open = VecDeque::from([(start, Vec::new())]);
    let mut seen = BTreeSet::new();
    while let Some((module, way)) = open.pop_front() {
        for (next, edge) in graph.get(module).into_iter().flatten() {
            let way = [way.as_slice(), &[edge]].concat();
            if next == start {
                return Some(way);
            }
            if seen.insert(next) {
                open.push_back((next, way));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> Tree {
        let owned = |(path, text): &(&str, &str)| ((*path).to_owned(), (*text).to_owned());
        Tree::new(&files.iter().map(owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_circle_of_three_files_is_printed_with_its_lines() {
        let tree = tree(&[
            ("lib.rs", "mod a; mod b; mod c; mod d;"),
            ("a.rs", "\nuse crate::b::f;"),
            ("b.rs", "fn f() {\n\ncrate::c::g() }"),
            ("c.rs", "use crate::{a::{self, A}, d};"),
            ("d.rs", "use crate::d::own;"),
        ]);
        let expected = "a.rs:2 imports b.rs, b.rs:3 imports c.rs, c.rs:1 imports a.rs";
        assert_eq!(tree.file_circles(), [expected]);
        assert_eq!(tree.sibling_circles(), [expected]);
    }

    #[test]
    fn circles_that_share_a_file_are_reported_once() {
        let tree = tree(&[
            ("main.rs", ""),
            ("a.rs", "use crate::{b, c};"),
            ("b.rs", "use crate::a;"),
            ("c.rs", "use crate::a;"),
        ]);
        let expected =
            "a.rs:1 imports b.rs, b.rs:1 imports a.rs (and 1 more that import one another)";
        assert_eq!(tree.file_circles(), [expected]);
    }

    #[test]
    fn siblings_form_a_circle_but_a_file_and_its_folder_do_not() {
        let parent = [
            ("lib.rs", "mod a; use crate::a::A;"),
            ("a.rs", "mod b; mod c; use self::b::B; use crate::a::c::C;"),
            ("a/b.rs", "use super::A; use crate::Root;"),
        ];
        let apart = [parent.as_slice(), &[("a/c.rs", "use super::b::B;")]].concat();
        assert!(tree(&apart).file_circles().is_empty());
        let siblings = [("a.rs", ""), ("a/b.rs", "use super::c;"), ("a/c.rs", "use super::b;")];
        assert_eq!(tree(&siblings).file_circles().len(), 1);
    }

    #[test]
    fn folders_beside_each_other_form_a_circle_through_different_files() {
        let tree = tree(&[
            ("lib.rs", ""),
            ("x/a.rs", ""),
            ("x/a/one.rs", "use crate::x::b::three;"),
            ("x/a/two.rs", ""),
            ("x/b.rs", "use super::a::two;"),
            ("x/b/three.rs", ""),
        ]);
        assert!(tree.file_circles().is_empty());
        let expected = "x/a/one.rs:1 imports x/b/three.rs, x/b.rs:1 imports x/a/two.rs";
        assert_eq!(tree.sibling_circles(), [expected]);
    }

    #[test]
    fn a_file_beside_a_folder_forms_a_circle_through_a_file_in_it() {
        let tree = tree(&[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "mod x;"),
            ("a/x.rs", "use crate::b::B;"),
            ("b.rs", "use crate::a::A;"),
        ]);
        assert!(tree.file_circles().is_empty());
        let expected = "a/x.rs:1 imports b.rs, b.rs:1 imports a.rs";
        assert_eq!(tree.sibling_circles(), [expected]);
    }

    #[test]
    fn tests_and_the_program_beside_a_library_are_left_out() {
        let tree = tree(&[
            ("lib.rs", ""),
            ("main.rs", "use crate::a;"),
            ("a.rs", "#[cfg(test)] mod tests; #[cfg(test)] mod more { use crate::b; }"),
            ("a/tests.rs", "use crate::b;"),
            ("b.rs", "use crate::a;"),
        ]);
        assert!(tree.file_circles().is_empty());
        assert!(tree.paths("a/tests.rs").is_empty());
    }

    #[test]
    fn paths_are_given_from_the_root() {
        let tree = tree(&[("lib.rs", ""), ("a/b.rs", "use super::{c, d::E}; use tonic::Status;")]);
        let paths: Vec<String> = tree.paths("a/b.rs").into_iter().map(|(_, path)| path).collect();
        assert_eq!(paths, ["crate::a::c", "crate::a::d::E", "tonic::Status"]);
    }
}
