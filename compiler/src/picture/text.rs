//! The picture in the languages of Graphviz and Mermaid, for those who draw with these.

use super::parts::{Picture, PictureKind, PictureNode};
use super::svg::escaped;
use std::fmt::Write;

/// DOT, the language of Graphviz: inputs at the bottom, predictions at the top.
pub fn dot(picture: &Picture) -> String {
    let mut text = format!(
        "digraph {} {{\n  rankdir=BT\n  bgcolor=white\n  node [shape=box fontname=\"Helvetica\" fontsize=11]\n  \
         edge [arrowsize=0.6 color=\"#555555\"]\n",
        quoted(&picture.model)
    );
    for (index, node) in picture.nodes.iter().enumerate() {
        let style = match node.kind {
            PictureKind::Features | PictureKind::Sequence => "style=filled fillcolor=\"#dfe9f5\"",
            PictureKind::Value => "style=rounded",
            PictureKind::Layer => "style=\"rounded,dashed\"",
            PictureKind::Prediction => "style=\"rounded,filled\" fillcolor=\"#e3f1dd\"",
        };
        let row = |line: &String| {
            let face = "<FONT FACE=\"Courier\" POINT-SIZE=\"10\">";
            format!("<TR><TD ALIGN=\"LEFT\">{face}{}</FONT></TD></TR>", escaped(line))
        };
        let rows: String = notes(node).iter().chain(&node.lines).map(row).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "  n{index} [{style} label=<<TABLE BORDER=\"0\" CELLSPACING=\"0\" CELLPADDING=\"1\">\
             <TR><TD><B>{}</B></TD></TR>{rows}</TABLE>>]",
            escaped(&node.name)
        );
    }
    picture.edges.iter().for_each(|(from, to)| _ = writeln!(text, "  n{from} -> n{to}"));
    text.push_str("}\n");
    text
}

/// Mermaid's, which GitHub and GitLab draw in Markdown.
pub fn mermaid(picture: &Picture) -> String {
    let mut text = String::from("flowchart BT\n");
    for (index, node) in picture.nodes.iter().enumerate() {
        let lines: Vec<String> = notes(node).iter().chain(&node.lines).map(|line| entities(line)).collect();
        let label = format!("<b>{}</b><br/>{}", entities(&node.name), lines.join("<br/>"));
        let (open, close, class) = match node.kind {
            PictureKind::Features | PictureKind::Sequence => ("[", "]", "input"),
            PictureKind::Value => ("(", ")", "value"),
            PictureKind::Layer => ("[[", "]]", "value"),
            PictureKind::Prediction => ("(", ")", "prediction"),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  n{index}{open}\"{label}\"{close}:::{class}");
    }
    picture.edges.iter().for_each(|(from, to)| _ = writeln!(text, "  n{from} --> n{to}"));
    text.push_str(
        "  classDef input fill:#dce8f6,stroke:#7f9fc6\n  classDef value fill:#ffffff,stroke:#9aa0a8\n  \
         classDef prediction fill:#d8edcf,stroke:#6fa35b\n",
    );
    text
}

fn notes(node: &PictureNode) -> Option<String> {
    Some(node.note()).filter(|note| !note.is_empty())
}

fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

/// Text of a label of Mermaid, which ends it at quotes and reads `#` as the beginning of a
/// character's number.
fn entities(text: &str) -> String {
    let mut safe = String::new();
    for c in text.chars() {
        match c {
            '#' | '"' | '<' | '>' | '&' | '`' | '[' | ']' | '*' | '_' | '~' | '|' => {
                // Writing to a string cannot fail.
                let _ = write!(safe, "#{};", u32::from(c));
            }
            c => safe.push(c),
        }
    }
    safe
}
