//! A JUnit report: each file is a test case, which fails if the file has an error.

use super::{CheckedFile, shown_path};
use din_grammar::{Diagnostic, Style, render};
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};
use std::io;

/// The name of the suite, and the class of its cases.
const SUITE: &str = "din.check";

pub(super) fn text(files: &[CheckedFile]) -> String {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    write(&mut writer, files).expect("memory takes what is written");
    let mut bytes = writer.into_inner();
    bytes.push(b'\n');
    String::from_utf8(bytes).expect("texts were written")
}

fn write(writer: &mut Writer<Vec<u8>>, files: &[CheckedFile]) -> io::Result<()> {
    let failed = files.iter().filter(|file| file.failure.is_none() && file.errors() > 0).count();
    let unread = files.iter().filter(|file| file.failure.is_some()).count();
    let (tests, failed, unread) = (files.len().to_string(), failed.to_string(), unread.to_string());
    let counts = [("tests", tests.as_str()), ("failures", failed.as_str()), ("errors", unread.as_str())];
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let named = [("name", SUITE)].into_iter().chain(counts);
    writer.write_event(Event::Start(BytesStart::new("testsuites").with_attributes(named.clone())))?;
    writer.write_event(Event::Start(BytesStart::new("testsuite").with_attributes(named)))?;
    for file in files {
        case(writer, file)?;
    }
    writer.write_event(Event::End(BytesEnd::new("testsuite")))?;
    writer.write_event(Event::End(BytesEnd::new("testsuites")))
}

fn case(writer: &mut Writer<Vec<u8>>, file: &CheckedFile) -> io::Result<()> {
    let name = character_data(&shown_path(&file.name));
    let start = BytesStart::new("testcase").with_attributes([("classname", SUITE), ("name", name.as_str())]);
    if file.failure.is_none() && file.diagnostics.is_empty() {
        return writer.write_event(Event::Empty(start));
    }
    writer.write_event(Event::Start(start))?;
    if let Some(failure) = &file.failure {
        problem(writer, "error", "unreadable", &failure.message, &failure.message)?;
    }
    let (errors, warnings): (Vec<Diagnostic>, Vec<Diagnostic>) =
        file.diagnostics.iter().cloned().partition(Diagnostic::is_error);
    let drawn = |of: &[Diagnostic]| render(of, &file.sources, Style::Human { color: false });
    // Readers show one failure of a case.
    if let Some(first) = errors.first() {
        let message = match errors.len() {
            1 => first.message.clone(),
            all => format!("{} (and {} more)", first.message, all - 1),
        };
        problem(writer, "failure", first.code, &message, &drawn(&errors))?;
    }
    if !warnings.is_empty() {
        element(writer, BytesStart::new("system-out"), &drawn(&warnings))?;
    }
    writer.write_event(Event::End(BytesEnd::new("testcase")))
}

fn problem(writer: &mut Writer<Vec<u8>>, name: &str, kind: &str, message: &str, text: &str) -> io::Result<()> {
    // A reader would make a space of a line break in an attribute.
    let message = character_data(message).replace('\n', " ");
    element(writer, BytesStart::new(name).with_attributes([("type", kind), ("message", message.as_str())]), text)
}

fn element(writer: &mut Writer<Vec<u8>>, start: BytesStart<'_>, text: &str) -> io::Result<()> {
    let end = start.to_end().into_owned();
    writer.write_event(Event::Start(start))?;
    writer.write_event(Event::Text(BytesText::new(&character_data(text))))?;
    writer.write_event(Event::End(end))
}

/// The text without the characters that XML 1.0 cannot have, not even escaped.
fn character_data(text: &str) -> String {
    let allowed = |c: char| match c {
        '\t' | '\n' | '\r' => true,
        '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => false,
        _ => true,
    };
    text.chars().map(|c| if allowed(c) { c } else { '\u{fffd}' }).collect()
}
