//! Parses a program's command line. An empty variable counts as unset, and a usage error is one
//! line that names the invalid variable or flag, because it appears in logs and in other programs'
//! messages.

use std::{
    env,
    ffi::{OsStr, OsString},
    fmt,
    process::ExitCode,
};

use clap::{
    Arg, Command, CommandFactory, Error, FromArgMatches,
    error::{ContextKind, ContextValue, ErrorKind},
};

/// The exit code for an invalid command line.
pub const EXIT_USAGE: u8 = 2;

/// Why a command line is invalid, in one line.
#[derive(Debug, PartialEq, Eq)]
pub struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

impl UsageError {
    /// Prints the error to standard error, prefixed with `program`.
    pub fn report(&self, program: &str) -> ExitCode {
        eprintln!("{program}: {self}");
        ExitCode::from(EXIT_USAGE)
    }
}

/// Parses the process's arguments and variables. Prints help or version on request and ends the
/// process.
///
/// # Errors
/// An argument or variable does not match the declaration.
pub fn parse<C: CommandFactory + FromArgMatches>() -> Result<C, UsageError> {
    let args: Vec<OsString> = env::args_os().collect();
    read(&args).map_err(|error| {
        let is_help = !error.use_stderr();
        if is_help || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
            error.exit();
        }
        explain(&error, C::command(), &args)
    })
}

fn read<C: CommandFactory + FromArgMatches>(args: &[OsString]) -> Result<C, Error> {
    let mut command = without_empty(C::command());
    let mut found = command.try_get_matches_from_mut(args)?;
    C::from_arg_matches_mut(&mut found).map_err(|error| error.format(&mut command))
}

/// Ignores variables that are set to an empty value.
fn without_empty(command: Command) -> Command {
    let empty = |name: &OsStr| env::var_os(name).is_some_and(|value| value.is_empty());
    let without_env = |arg: Arg| {
        if arg.get_env().is_some_and(empty) { arg.env(None::<&'static str>) } else { arg }
    };
    command.mut_args(without_env).mut_subcommands(without_empty)
}

/// The error without clap's paragraphs about usage, and with the name of the variable.
fn explain(error: &Error, mut command: Command, args: &[OsString]) -> UsageError {
    // Only a built command formats its arguments as error messages do.
    command.build();
    let text = error.render().to_string();
    let asides = ["Usage:", "For more information"];
    let summary = text.split("\n\n").filter(|part| !asides.iter().any(|a| part.starts_with(a)));
    let summary: Vec<String> =
        summary.map(|part| part.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let summary = summary.join("; ");
    let summary = summary.strip_prefix("error: ").unwrap_or(&summary);
    UsageError(match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::MissingRequiredArgument, Some(ContextValue::Strings(missing))) => {
            let variables: Vec<&str> =
                missing.iter().filter_map(|shown| variable_of(&command, shown)).collect();
            if variables.is_empty() {
                summary.to_owned()
            } else {
                format!("{summary}; or set {}", variables.join(", "))
            }
        }
        (_, Some(ContextValue::String(shown))) => match variable_of(&command, shown) {
            // The flag was not given, so the value came from its variable.
            Some(name) if !is_given(shown, args) => format!("{name}: {summary}"),
            _ => summary.to_owned(),
        },
        _ => summary.to_owned(),
    })
}

/// The variable of the argument that errors display as `shown`.
fn variable_of<'a>(command: &'a Command, shown: &str) -> Option<&'a str> {
    let own = command.get_arguments().find(|arg| arg.to_string() == shown);
    match own.and_then(|arg| arg.get_env()) {
        Some(name) => name.to_str(),
        None => command.get_subcommands().find_map(|below| variable_of(below, shown)),
    }
}

/// Whether the arguments contain the flag.
fn is_given(shown: &str, args: &[OsString]) -> bool {
    let flag = shown.split_whitespace().next().unwrap_or_default();
    let is_flag = |arg: &OsString| {
        let arg = arg.to_string_lossy();
        arg == flag || arg.strip_prefix(flag).is_some_and(|rest| rest.starts_with('='))
    };
    args.iter().any(is_flag)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser, Subcommand};

    use super::{explain, read};

    #[derive(Debug, Parser)]
    #[command(name = "thing")]
    struct Thing {
        #[command(subcommand)]
        verb: Verb,
    }

    #[derive(Debug, Subcommand)]
    enum Verb {
        Run {
            #[arg(long, env = "THING_SLOTS", default_value_t = 1)]
            slots: u8,
            #[arg(long, env = "THING_STORE")]
            store: String,
        },
    }

    fn usage_error(args: &[&str]) -> String {
        let args: Vec<_> = ["thing"].iter().chain(args).map(Into::into).collect();
        let error = read::<Thing>(&args).unwrap_err();
        explain(&error, Thing::command(), &args).to_string()
    }

    #[test]
    fn usage_errors_are_one_line_with_the_invalid_name() {
        let flag = usage_error(&["run", "--store", "s", "--slots=many"]);
        assert_eq!(
            flag,
            "invalid value 'many' for '--slots <SLOTS>': invalid digit found in string"
        );
        let missing = usage_error(&["run"]);
        assert_eq!(
            missing,
            "the following required arguments were not provided: --store <STORE>; or set THING_STORE"
        );
        let slip = usage_error(&["runn"]);
        assert!(slip.starts_with("unrecognized subcommand 'runn'; tip: "), "{slip}");
    }

    #[test]
    fn a_value_without_its_flag_came_from_the_variable() {
        let given = ["thing", "run", "--slots", "many"].map(Into::into);
        let error = read::<Thing>(&given).unwrap_err();
        let elsewhere = ["thing", "run"].map(Into::into);
        let message = explain(&error, Thing::command(), &elsewhere).to_string();
        assert!(message.starts_with("THING_SLOTS: invalid value 'many'"), "{message}");
    }
}
