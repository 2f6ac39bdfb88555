//! `docs/reference/commands.md` says of each command, flag and variable what `--help` says.

use std::fmt::Write as _;
use std::path::Path;

use clap::CommandFactory as _;
use weft_testkit::generated::assert_follows;

use crate::args::Weft;

const HEAD: &str = "\
# Commands

Every command of `weft`, its arguments, and the variables that stand for them. This page follows from the command line itself;
`weft help COMMAND` says the same, with examples.
";

/// A text in a cell of a table, or of a paragraph.
fn line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// How an argument is written.
fn written(argument: &clap::Arg) -> String {
    let values: Vec<String> =
        argument.get_value_names().into_iter().flatten().map(ToString::to_string).collect();
    let takes = argument.get_action().takes_values();
    let value = if takes && !values.is_empty() { format!(" {}", values.join(" ")) } else { String::new() };
    let flags =
        [argument.get_short().map(|c| format!("-{c}")), argument.get_long().map(|name| format!("--{name}"))];
    let flags: Vec<String> = flags.into_iter().flatten().collect();
    if flags.is_empty() { values.join(" ") } else { flags.join(", ") + &value }
}

fn arguments(command: &clap::Command, page: &mut String) {
    let shown = |argument: &&clap::Arg| !argument.is_hide_set() && argument.get_id() != "help";
    let all: Vec<&clap::Arg> = command.get_arguments().filter(shown).collect();
    if all.is_empty() {
        return;
    }
    page.push_str("\n| argument | variable | default | what |\n|---|---|---|---|\n");
    for argument in all {
        let variable =
            argument.get_env().map(|name| format!("`{}`", name.to_string_lossy())).unwrap_or_default();
        let defaults: Vec<String> = argument
            .get_default_values()
            .iter()
            .filter(|_| argument.get_action().takes_values())
            .map(|value| format!("`{}`", value.to_string_lossy()))
            .collect();
        let help = argument.get_long_help().or_else(|| argument.get_help());
        let mut what = help.map(|help| line(&help.to_string())).unwrap_or_default();
        let choices: Vec<String> = argument
            .get_possible_values()
            .iter()
            .filter(|value| !value.is_hide_set() && argument.get_action().takes_values())
            .map(|value| format!("`{}`", value.get_name()))
            .collect();
        if !choices.is_empty() {
            write!(what, " [{}]", choices.join(", ")).expect("text can be written");
        }
        writeln!(page, "| `{}` | {variable} | {} | {what} |", written(argument), defaults.join(" "))
            .expect("text can be written");
    }
}

fn commands(command: &clap::Command, path: &str, page: &mut String) {
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set() && inner.get_name() != "help")
    {
        let path = format!("{path} {}", inner.get_name());
        let about = inner.get_long_about().or_else(|| inner.get_about());
        let about = about.map(|about| line(&about.to_string())).unwrap_or_default();
        write!(page, "\n## `{path}`\n\n{about}\n").expect("text can be written");
        arguments(inner, page);
        commands(inner, &path, page);
    }
}

#[test]
fn the_reference_of_the_commands_is_what_the_command_line_says() {
    let mut weft = Weft::command();
    weft.build();
    let mut page = HEAD.to_owned();
    commands(&weft, "weft", &mut page);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/commands.md");
    assert_follows(&file, &page, "-p weft --bins reference");
}
