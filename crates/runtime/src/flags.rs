//! Renders a program's flags and variables as Markdown. `docs/configuration.md` is generated from
//! the same declarations that parse them, so the two cannot differ.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{Arg, Command};

/// A section for every command of `program` that reads a variable, starting with the program's own.
/// Flags that all commands share are in the program's section.
pub fn document(program: &Command) -> String {
    let mut program = program.clone();
    program.build();
    let mut text = String::new();
    section(&mut text, program.get_name(), &program, &[]);
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// Prints the sections of [`document`]; fails where standard output was closed.
pub fn print_document(program: &Command) -> ExitCode {
    match io::stdout().write_all(document(program).as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn section(text: &mut String, path: &str, command: &Command, inherited: &[&str]) {
    let own = |arg: &&Arg| variable(arg).is_some() && !inherited.contains(&arg.get_id().as_str());
    let args: Vec<&Arg> = command.get_arguments().filter(own).collect();
    if !args.is_empty() {
        let _ = writeln!(text, "## `{path}`\n");
        let _ = writeln!(text, "| variable | flag | default | |\n|---|---|---|---|");
        for arg in &args {
            row(text, arg);
        }
        text.push('\n');
    }
    let global = command.get_arguments().filter(|arg| arg.is_global_set());
    let known: Vec<&str> =
        inherited.iter().copied().chain(global.map(|arg| arg.get_id().as_str())).collect();
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        section(text, &format!("{path} {}", below.get_name()), below, &known);
    }
}

fn row(text: &mut String, arg: &Arg) {
    let flag = arg.get_long().map(|long| format!("`--{long}`")).unwrap_or_default();
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut help = help.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
    let values: Vec<String> =
        arg.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
    // A switch takes true and false, as its help text already states.
    if !values.is_empty() && arg.get_action().takes_values() {
        let _ = write!(help, " ({})", values.join(", "));
    }
    let variable = variable(arg).unwrap_or_default();
    let _ = writeln!(text, "| `{variable}` | {flag} | {} | {help} |", default(arg));
}

fn default(arg: &Arg) -> String {
    let values: Vec<String> =
        arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
    match values.join(",") {
        _ if arg.is_required_set() => "required".to_owned(),
        text if !text.is_empty() => format!("`{text}`"),
        _ if !arg.get_action().takes_values() => "`false`".to_owned(),
        _ => String::new(),
    }
}

fn variable(arg: &Arg) -> Option<&str> {
    arg.get_env().and_then(|name| name.to_str())
}

#[cfg(test)]
mod tests {
    use clap::{Arg, ArgAction, Command};

    use super::document;

    #[test]
    fn every_variable_is_listed_once_with_its_flag_and_default() {
        let program = Command::new("thing")
            .arg(Arg::new("data").long("data").env("T_DATA").global(true).help("Where | what"))
            .subcommand(
                Command::new("run")
                    .arg(Arg::new("n").long("n").env("T_N").default_value("7"))
                    .arg(Arg::new("must").long("must").env("T_MUST").required(true))
                    .arg(Arg::new("on").long("on").env("T_ON").action(ArgAction::SetTrue))
                    .arg(Arg::new("plain").long("plain")),
            )
            .subcommand(Command::new("secret").hide(true).arg(Arg::new("x").long("x").env("T_X")));
        let text = document(&program);
        for line in [
            "## `thing`",
            "| `T_DATA` | `--data` |  | Where \\| what |",
            "## `thing run`",
            "| `T_N` | `--n` | `7` |  |",
            "| `T_MUST` | `--must` | required |  |",
            "| `T_ON` | `--on` | `false` |  |",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing from\n{text}");
        }
        assert_eq!(text.matches("T_DATA").count(), 1, "{text}");
        assert!(!text.contains("T_X") && !text.contains("plain"), "{text}");
    }
}
