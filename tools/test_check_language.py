"""Tests of tools/check-language and its lexer: python3 tools/test_check_language.py"""

import importlib.machinery
import importlib.util
import os
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
LOADER = importlib.machinery.SourceFileLoader("check_language", os.path.join(HERE, "check-language"))
check = importlib.util.module_from_spec(importlib.util.spec_from_loader("check_language", LOADER))
LOADER.exec_module(check)


def rust(source, path="a.rs"):
    return check.Source(path, *check.lexer.rust(source))


def bodies(source, kind):
    return [text.body for text in rust(source).texts if text.kind == kind]


class Lexer(unittest.TestCase):
    def test_strings_and_comments_do_not_contain_each_other(self):
        source = 'let a = "// no comment"; // "no string"\nlet b = \'"\'; /* a /* nested */ "one" */ let c = "two";'
        self.assertEqual(bodies(source, "message"), ["// no comment", "two"])
        self.assertEqual(len(bodies(source, "comment")), 1, "adjacent lines are one comment")

    def test_lifetimes_are_not_characters(self):
        self.assertEqual(bodies("fn f<'a, 'b>(x: &'a str) -> char { '\\'' } // end", "comment"), [" end"])

    def test_raw_strings_end_at_their_hashes(self):
        self.assertEqual(bodies('r#"a "quoted" word"# r"\\" br"bytes" "x"', "message"), ['a "quoted" word', "\\", "x"])

    def test_a_phrase_may_go_on_in_the_next_line(self):
        [text] = rust("//! Nothing is here that is\n//! no file.\n").texts
        match = check.PHRASES["is no"].search(text.body)
        self.assertEqual(text.line_of(match.start()), 1)
        [text] = rust('let a = "it is \\\n    no file";').texts
        self.assertTrue(check.PHRASES["is no"].search(text.body))

    def test_hash_in_yaml_and_shell_strings_is_not_a_comment(self):
        self.assertEqual([t.kind for t in check.lexer.hashed("a: '#1' # note")], ["comment", "data"])
        self.assertEqual([t.body for t in check.lexer.hashed("a: it's # one's")], [" one's", "a: it's "])
        self.assertEqual([t.body for t in check.lexer.shell('echo "# a" ${#b} # note')], [" note", "# a"])


class Rules(unittest.TestCase):
    def found(self, source, rule):
        return [v.detail for v in rule([rust(source)])]

    def test_markup_has_comments_and_those_of_its_scripts(self):
        source = "<!-- a page -->\n<script>\n  // a script\n  const word = 'text';\n</script>\n<p>shown</p>\n"
        found = [(text.kind, text.line, text.body.strip()) for text in check.lexer.markup(source)]
        self.assertEqual(found, [("comment", 1, "a page"), ("comment", 3, "a script"), ("message", 4, "text")])

    def test_log_messages(self):
        bad = ["extend leases", "wait for postgres", "look for lost leases", "read stored keys", "task ended, stop the process"]
        good = ["failed to extend leases", "purge not sent, retrying", "store unavailable", "drain ran out of time"]
        for message in bad:
            self.assertTrue(check.log_fault("warn", message), message)
        for message in good:
            self.assertIsNone(check.log_fault("warn", message), message)
        self.assertIsNone(check.log_fault("info", "job completed"))
        self.assertTrue(check.log_fault("warn", "job completed"))
        self.assertTrue(check.log_fault("info", "drain"))
        self.assertTrue(check.log_fault("debug", "compress output"))

    def test_the_message_of_a_log_call_is_not_a_field(self):
        source = 'tracing::warn!(name = "a b", error = %f("c d"), "extend leases", x);'
        self.assertEqual(self.found(source, check.logs), ["WARN bare imperative: extend leases"])

    def test_events_have_their_level_as_an_argument(self):
        source = 'tracing::event!(target: "a b", tracing::Level::WARN, name = "c d", "extend leases");'
        self.assertEqual(self.found(source, check.logs), ["WARN bare imperative: extend leases"])
        source = 'event!(Level::ERROR, "job completed"); event!(Level::INFO, "job completed"); event!(level, "drain");'
        self.assertEqual(
            [detail.split(" ", 1)[0] + detail[detail.rindex(":") :] for detail in self.found(source, check.logs)],
            ["ERROR: job completed", "INFO: drain"],
        )

    def test_error_names(self):
        source = "#[derive(Debug, thiserror::Error)]\npub enum Broken {}\nstruct Refusals;\nimpl std::error::Error for Odd<T> {}"
        self.assertEqual(
            self.found(source, check.names), ["type Refusals", "Broken implements Error", "Odd implements Error"]
        )
        self.assertEqual(self.found("#[derive(Error)] enum ReadError {} struct Default;", check.names), [])

    def test_nouns_are_found_in_every_part_of_a_type_name(self):
        for name in ["RefusedToken", "FindingList", "JobFaults", "TheVerdictOf", "OverdueProbe", "AnIssue", "JobRejected"]:
            self.assertEqual(self.found(f"struct {name};", check.names), [f"type {name}"])
        for name in ["RejectedTokenLimiter", "IssueToken", "DefaultName", "Faultless", "Undoubted"]:
            self.assertEqual(self.found(f"struct {name};", check.names), [], name)

    def test_classes_are_types(self):
        for path, source in {
            "a.py": "class JobVerdict(NamedTuple):\n    pass\n\nclass Good:\n    pass\n",
            "a.mjs": "export class FindingList extends Map {}\n// class Other is good\nclass Good {}\n",
            "a.js": "const a = class RefusedToken {};\n",
        }.items():
            file = check.source_of(path, check.reader_of(path), source)
            self.assertEqual([(v.line, v.rule) for v in check.names([file])], [(1, "error-name")], path)

    def test_negated_nouns(self):
        self.assertTrue(self.found('f("is no IP address")', check.wording))
        self.assertFalse(self.found('f("is no longer valid; there is no key")', check.wording))

    def test_metaphors_are_found_in_texts_and_names(self):
        for text in ["// the door is open", "// The log says so.", 'f("the worker told control")']:
            self.assertTrue(self.found(text, check.wording), text)
        for name in ["hears", "log_says", "toldUser", "Stranger", "BLAME_SOURCE", "shunned_until"]:
            self.assertEqual(self.found(f"let {name} = 1;", check.names), [f"name {name}"])
        self.assertEqual(self.found("let essays = total + hearsay + adoors + gateway;", check.names), [])

    def test_sentences_begin_with_their_subject(self):
        for text in ["// What a job produces.", "/// Kept. Whose it is does not matter", "// a | Who may | b"]:
            self.assertTrue(self.found(text, check.wording), text)
        for text in ["// States what failed.", 'f("What now")', "// What is missing?"]:
            self.assertFalse(self.found(text, check.wording), text)

    def test_the_old_term_is_counted_in_texts_and_names(self):
        source = "// a TERM\nlet TERM_name = TERMs(1);".replace("TERM", check.OLD_TERM.pattern)
        found = [len(found) for _, found in check.terms([rust(source)])]
        self.assertEqual(found, [1, 2])

    def test_outside_references(self):
        urls = [f"// https://github.com/owner/name/{kind}/12" for kind in ("issues", "pull", "discussions")]
        for text in ["// as in test 11", "// Case 27: late", "// see issue #12", "// fixed by #123", *urls]:
            self.assertTrue(self.found(text, check.wording), text)
        release = "// https://github.com/owner/name/releases"
        for text in [release, "// owner/name#123", "// in case of 3 errors", 'f("{sum:#010x} &#60;")']:
            self.assertFalse(self.found(text, check.wording), text)

    def test_an_unknown_kind_of_file_is_a_violation(self):
        with tempfile.NamedTemporaryFile(suffix=".odd") as file, self.assertRaises(ValueError):
            check.reader_of(file.name)

    def test_limits_count_words(self):
        few = [rust("// nobody\n")]
        many = [rust("// nobody " + "word " * check.WORDS_PER_PHRASE)]
        over = lambda sources: [v for limit, found in check.phrases(sources) if len(found) > limit for v in found]
        self.assertEqual((len(over(few)), len(over(many))), (1, 0))


if __name__ == "__main__":
    unittest.main()
