//! Reads Rust source as tokens, without comments and the contents of literals, and finds the paths
//! in it. It knows just enough of the syntax to list imports; it does not expand macros.

/// A word (identifier, keyword or number), `::`, or one other character; a literal is `""`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// A path as written, with groups resolved: `use a::{b, c::d}` yields `a::b` and `a::c::d`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Import {
    pub(crate) line: usize,
    /// The modules within the file that enclose the path.
    pub(crate) within: Vec<String>,
    pub(crate) path: Vec<String>,
}

/// The code that is compiled into programs: without the items under `#[cfg(test)]`.
pub(crate) struct Shipped {
    pub(crate) tokens: Vec<Token>,
    /// Modules in files of their own that exist only in tests: `#[cfg(test)] mod tests;`.
    pub(crate) test_modules: Vec<String>,
}

/// Words with which an item begins, so that a comma does not end it.
const ITEMS: [&str; 15] = [
    "async",
    "const",
    "enum",
    "extern",
    "fn",
    "impl",
    "let",
    "macro_rules",
    "mod",
    "pub",
    "static",
    "struct",
    "trait",
    "type",
    "use",
];

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// The position after the literal whose content begins at `from`: after an unescaped `end`.
fn after_literal(text: &[char], mut from: usize, end: char) -> usize {
    while from < text.len() && text[from] != end {
        from += if text[from] == '\\' { 2 } else { 1 };
    }
    (from + 1).min(text.len())
}

/// The position after a raw string whose hashes or quote begin at `from`, if there is one.
fn after_raw(text: &[char], from: usize) -> Option<usize> {
    let hashes = text[from..].iter().take_while(|char| **char == '#').count();
    (text.get(from + hashes) == Some(&'"')).then(|| {
        let closing: Vec<char> = std::iter::once('"').chain(vec!['#'; hashes]).collect();
        let content = from + hashes + 1;
        let end = text[content..].windows(hashes + 1).position(|window| *window == closing[..]);
        end.map_or(text.len(), |end| content + end + hashes + 1)
    })
}

/// The position after a comment that begins at `from`, if there is one; block comments nest.
fn after_comment(text: &[char], from: usize) -> Option<usize> {
    match (text[from], text.get(from + 1)) {
        ('/', Some('/')) => {
            let length = text[from..].iter().position(|char| *char == '\n');
            Some(length.map_or(text.len(), |length| from + length))
        }
        ('/', Some('*')) => {
            let (mut at, mut depth) = (from + 2, 1);
            while depth > 0 && at < text.len() {
                match (text[at], text.get(at + 1)) {
                    ('/', Some('*')) => (at, depth) = (at + 2, depth + 1),
                    ('*', Some('/')) => (at, depth) = (at + 2, depth - 1),
                    _ => at += 1,
                }
            }
            Some(at)
        }
        _ => None,
    }
}

/// The position after a character literal or a lifetime that begins at `from`, and its token.
fn after_quote(text: &[char], from: usize) -> (usize, &'static str) {
    match (text.get(from + 1), text.get(from + 2)) {
        (Some('\\'), _) => (after_literal(text, from + 1, '\''), "\"\""),
        (_, Some('\'')) => (from + 3, "\"\""),
        _ => {
            let name = text[from + 1..].iter().take_while(|char| is_word(**char)).count();
            (from + 1 + name, "'")
        }
    }
}

/// The position after the token that begins at `from`, and its text.
fn next(text: &[char], from: usize) -> (usize, String) {
    let char = text[from];
    if char == '"' {
        return (after_literal(text, from + 1, '"'), "\"\"".to_owned());
    }
    if char == '\'' {
        let (end, token) = after_quote(text, from);
        return (end, token.to_owned());
    }
    if char == ':' && text.get(from + 1) == Some(&':') {
        return (from + 2, "::".to_owned());
    }
    if !is_word(char) {
        return (from + 1, char.to_string());
    }
    let end = from + text[from..].iter().take_while(|char| is_word(**char)).count();
    let word: String = text[from..end].iter().collect();
    let literal = match word.as_str() {
        "r" | "br" | "cr" => after_raw(text, end),
        "b" | "c" if text.get(end) == Some(&'"') => Some(after_literal(text, end + 1, '"')),
        "b" if text.get(end) == Some(&'\'') => Some(after_literal(text, end + 1, '\'')),
        _ => None,
    };
    literal.map_or((end, word), |end| (end, "\"\"".to_owned()))
}

/// The tokens of a file.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let text: Vec<char> = source.chars().collect();
    let (mut tokens, mut at, mut line) = (Vec::new(), 0, 1);
    while at < text.len() {
        let (end, token) = match after_comment(&text, at) {
            Some(end) => (end, None),
            None if text[at].is_whitespace() => (at + 1, None),
            None => {
                let (end, token) = next(&text, at);
                (end, Some(token))
            }
        };
        tokens.extend(token.map(|text| Token { line, text }));
        line += text[at..end].iter().filter(|char| **char == '\n').count();
        at = end;
    }
    tokens
}

fn reads(tokens: &[Token], at: usize, words: &[&str]) -> bool {
    let texts = tokens.iter().skip(at).map(|token| token.text.as_str());
    texts.take(words.len()).eq(words.iter().copied())
}

/// The position after the bracket that closes the one at `at`.
fn after_bracket(tokens: &[Token], at: usize) -> usize {
    let mut depth = 0;
    for (n, token) in tokens.iter().enumerate().skip(at) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return n + 1;
        }
    }
    tokens.len()
}

/// The position after the item, field or match arm that begins at `at`.
fn after_item(tokens: &[Token], mut at: usize) -> usize {
    let item = tokens.get(at).is_some_and(|token| ITEMS.contains(&token.text.as_str()));
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            ";" => return at + 1,
            "," if !item => return at + 1,
            "}" => return at,
            "{" => return after_bracket(tokens, at),
            "(" | "[" => at = after_bracket(tokens, at),
            _ => at += 1,
        }
    }
    at
}

/// Removes the items under `#[cfg(test)]`.
pub(crate) fn shipped(tokens: Vec<Token>) -> Shipped {
    let mut shipped = Shipped { tokens: Vec::new(), test_modules: Vec::new() };
    let mut at = 0;
    while at < tokens.len() {
        if !reads(&tokens, at, &["#", "[", "cfg", "(", "test", ")", "]"]) {
            shipped.tokens.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let mut item = at;
        while reads(&tokens, item, &["#", "["]) {
            item = after_bracket(&tokens, item + 1);
        }
        at = after_item(&tokens, item);
        let declared = tokens[item..at].iter().rev().map(|token| token.text.as_str());
        if let [";", name, "mod", ..] = declared.collect::<Vec<_>>()[..] {
            shipped.test_modules.push(name.to_owned());
        }
    }
    shipped
}

/// Lists the paths of at least two names, and everything that `use` groups list.
pub(crate) fn imports(tokens: &[Token]) -> Vec<Import> {
    let mut found = Vec::new();
    let mut within: Vec<(usize, String)> = Vec::new();
    let (mut at, mut depth) = (0, 0);
    while let Some(token) = tokens.get(at) {
        let first = token.text.starts_with(is_word) && reads(tokens, at + 1, &["::"]);
        let continued = at > 0 && tokens[at - 1].text == "::";
        let visibility = at > 2 && reads(tokens, at - 3, &["pub", "(", "in"]);
        if first && !continued && !visibility {
            let mut paths = Vec::new();
            at = read_path(tokens, at, &mut Vec::new(), &mut paths);
            let enclosing: Vec<String> = within.iter().map(|(_, name)| name.clone()).collect();
            let import = |(line, path)| Import { line, within: enclosing.clone(), path };
            // A single name is a generic function with its arguments: `collect::<Vec<_>>`.
            let paths = paths.into_iter().filter(|(_, path)| path.len() > 1);
            found.extend(paths.map(import));
            continue;
        }
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                within.retain(|(opened, _)| *opened <= depth);
            }
            "mod" if reads(tokens, at + 2, &["{"]) => {
                within.push((depth + 1, tokens[at + 1].text.clone()));
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Reads one path, or one branch of a group, that begins at `at`, and returns the position after
/// it.
fn read_path(
    tokens: &[Token],
    mut at: usize,
    prefix: &mut Vec<String>,
    found: &mut Vec<(usize, Vec<String>)>,
) -> usize {
    let depth = prefix.len();
    let line = tokens.get(at).map_or(0, |token| token.line);
    loop {
        match tokens.get(at).map(|token| token.text.as_str()) {
            Some("{") => {
                let end = after_bracket(tokens, at);
                at += 1;
                while at + 1 < end {
                    at = read_path(tokens, at, prefix, found);
                    while at + 1 < end && tokens[at].text != "," {
                        at += 1;
                    }
                    at += 1;
                }
                prefix.truncate(depth);
                return end;
            }
            // `a::b::{self}` is `a::b`, `self::a` keeps its first name.
            Some("self") if !prefix.is_empty() => at += 1,
            Some(word) if word.starts_with(is_word) => {
                prefix.push(word.to_owned());
                at += 1;
            }
            Some("*") => at += 1,
            _ => {}
        }
        if !reads(tokens, at, &["::"]) {
            break;
        }
        at += 1;
        if reads(tokens, at, &["<"]) {
            break;
        }
    }
    found.push((line, prefix.clone()));
    prefix.truncate(depth);
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(source: &str) -> Vec<String> {
        let shipped = shipped(tokens(source));
        let text = |import: Import| [import.within, import.path].concat().join("::");
        imports(&shipped.tokens).into_iter().map(text).collect()
    }

    #[test]
    fn groups_are_resolved() {
        let source = "use crate::{a, b::{self, c::D as E}, f::*};\nuse super::g;";
        let expected = ["crate::a", "crate::b", "crate::b::c::D", "crate::f", "super::g"];
        assert_eq!(found(source), expected);
    }

    #[test]
    fn paths_in_code_are_found_without_their_arguments() {
        let source = "pub(in crate::x) fn f() { crate::a::b::<crate::T>(self::c(), d.e::<u8>()) }";
        assert_eq!(found(source), ["crate::a::b", "crate::T", "self::c"]);
    }

    #[test]
    fn paths_in_comments_and_literals_are_ignored() {
        let source = "// crate::a\n/* crate::b /* crate::c */ crate::d */ fn f<'a>() {\n\
            g(\"crate::e \\\" crate::f\", r#\"\" crate::h\"#, '\"', '\\'', b'\"', br\"\\\", crate::i()) }";
        assert_eq!(found(source), ["crate::i"]);
    }

    #[test]
    fn test_items_are_left_out() {
        let source = "#[cfg(test)]\nmod tests;\n#[cfg(test)] #[path = \"x.rs\"] mod more { use crate::a; }\n\
            #[cfg(test)]\nuse crate::{b, c};\n#[cfg(test)] fn f<A, B>(_: [u8; 2]) { crate::d() }\n\
            enum E { #[cfg(test)] A(crate::e::T), B(crate::g::T) }";
        assert_eq!(found(source), ["crate::g::T"]);
        assert_eq!(shipped(tokens(source)).test_modules, ["tests"]);
    }

    #[test]
    fn enclosing_modules_are_known() {
        let source = "mod a { mod b { use super::c::D; } use super::e::F; } use self::g::H;";
        assert_eq!(found(source), ["a::b::super::c::D", "a::super::e::F", "self::g::H"]);
    }

    #[test]
    fn lines_are_counted() {
        let tokens = tokens("a\n\"b\nc\" /*\n*/ d");
        let lines: Vec<usize> = tokens.iter().map(|token| token.line).collect();
        assert_eq!(lines, [1, 2, 4]);
    }
}
