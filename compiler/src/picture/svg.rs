//! SVG: boxes in layers, without scripts or fonts of its own.

use super::layout::{PlacedBoxes, layout};
use super::parts::{Picture, PictureKind, PictureNode};
use std::fmt::Write;

/// Widths of characters: the fonts of viewers differ, so they are generous.
const TITLE: f64 = 7.6;
const NOTE: f64 = 6.1;
const CODE: f64 = 7.2;
const LINE: f64 = 15.0;
const HEAD: f64 = 24.0;
const PADDING: f64 = 11.0;
const MARGIN: f64 = 16.0;

/// Fill, border and head of a box.
fn colors(kind: PictureKind) -> (&'static str, &'static str, &'static str) {
    match kind {
        PictureKind::Features => ("#f3f7fc", "#7f9fc6", "#dce8f6"),
        PictureKind::Sequence => ("#f3f7fc", "#4f78ac", "#c6daf0"),
        PictureKind::Value => ("#ffffff", "#9aa0a8", "#eef0f2"),
        PictureKind::Layer => ("#ffffff", "#9aa0a8", "#f4ecdc"),
        PictureKind::Prediction => ("#f3faf0", "#6fa35b", "#d8edcf"),
    }
}

/// The picture as an SVG file.
pub fn svg(picture: &Picture) -> String {
    let (body, width, height) = drawing(picture);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"Helvetica, Arial, sans-serif\">\n\
         <title>{}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{body}</svg>\n",
        escaped(&picture.model)
    )
}

/// Edges and nodes, with the width and height that they take. Each node is a group with the number
/// of its index, for scripts.
pub(super) fn drawing(picture: &Picture) -> (String, f64, f64) {
    let sizes: Vec<(f64, f64)> = picture.nodes.iter().map(size).collect();
    let PlacedBoxes { width, height, corners, routes } = layout(&sizes, &picture.edges);
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
         orient=\"auto\"><path d=\"M0 0.8 L7 4 L0 7.2 z\" fill=\"#6b7280\"/></marker></defs>\n\
         <g transform=\"translate({MARGIN} {MARGIN})\">"
    );
    for (route, (from, to)) in routes.iter().zip(&picture.edges) {
        let _ = writeln!(
            text,
            "<path class=\"edge\" data-from=\"{from}\" data-to=\"{to}\" d=\"{}\" fill=\"none\" stroke=\"#6b7280\" \
             stroke-width=\"1.3\" marker-end=\"url(#tip)\"/>",
            path(route)
        );
    }
    for (index, (node, (&(x, y), &size))) in picture.nodes.iter().zip(corners.iter().zip(&sizes)).enumerate() {
        text.push_str(&boxed(index, node, (x, y), size));
    }
    text.push_str("</g>\n");
    (text, width + 2.0 * MARGIN, height + 2.0 * MARGIN)
}

fn columns(text: &str) -> f64 {
    text.chars().count() as f64
}

fn size(node: &PictureNode) -> (f64, f64) {
    let note = node.note();
    let between = if note.is_empty() { 0.0 } else { 18.0 };
    let head = TITLE * columns(title(node).as_str()) + between + NOTE * columns(&note);
    let lines = node.lines.iter().map(|line| CODE * columns(line)).fold(0.0, f64::max);
    let body = if node.lines.is_empty() { 0.0 } else { LINE * node.lines.len() as f64 + 10.0 };
    (head.max(lines).max(60.0) + 2.0 * PADDING, HEAD + body)
}

/// The name, and of a sequence what it is.
fn title(node: &PictureNode) -> String {
    match node.kind {
        PictureKind::Sequence => format!("{} ⋯", node.name),
        PictureKind::Features | PictureKind::Value | PictureKind::Layer | PictureKind::Prediction => node.name.clone(),
    }
}

fn boxed(index: usize, node: &PictureNode, (x, y): (f64, f64), (width, height): (f64, f64)) -> String {
    let (fill, border, head) = colors(node.kind);
    let mut text = format!("<g class=\"node\" data-node=\"{index}\" transform=\"translate({x:.1} {y:.1})\">\n");
    let dashes = if node.kind == PictureKind::Layer { " stroke-dasharray=\"5 3\"" } else { "" };
    // No place: it would change with each line that is added to the spec.
    let hint: Vec<String> = node.docs.iter().cloned().chain(node.axis.clone()).collect();
    // Writing to a string cannot fail.
    if !hint.is_empty() {
        let _ = writeln!(text, "<title>{}</title>", escaped(&hint.join("\n")));
    }
    let _ = writeln!(
        text,
        "<rect width=\"{width:.1}\" height=\"{height:.1}\" rx=\"6\" fill=\"{fill}\"/>\n\
         <path d=\"M0 {HEAD} V6 a6 6 0 0 1 6 -6 H{:.1} a6 6 0 0 1 6 6 V{HEAD} z\" fill=\"{head}\"/>\n\
         <rect width=\"{width:.1}\" height=\"{height:.1}\" rx=\"6\" fill=\"none\" stroke=\"{border}\"{dashes}/>",
        width - 6.0
    );
    let _ = writeln!(
        text,
        "<text x=\"{PADDING}\" y=\"16\" font-size=\"13\" font-weight=\"bold\" fill=\"#1f2937\">{}</text>",
        escaped(&title(node))
    );
    let note = node.note();
    if !note.is_empty() {
        let _ = writeln!(
            text,
            "<text x=\"{:.1}\" y=\"16\" font-size=\"11\" text-anchor=\"end\" fill=\"#4b5563\">{}</text>",
            width - PADDING,
            escaped(&note)
        );
    }
    for (k, line) in node.lines.iter().enumerate() {
        let _ = writeln!(
            text,
            "<text x=\"{PADDING}\" y=\"{:.1}\" font-size=\"11\" font-family=\"DejaVu Sans Mono, Menlo, Consolas, monospace\" \
             fill=\"#374151\" xml:space=\"preserve\">{}</text>",
            HEAD + LINE * (k as f64 + 1.0),
            escaped(line)
        );
    }
    text.push_str("</g>\n");
    text
}

/// A curve through the points of a route, which is upright at each of them.
fn path(route: &[(f64, f64)]) -> String {
    let mut text = String::new();
    for (k, &(x, y)) in route.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = match k.checked_sub(1).map(|before| route[before]) {
            None => write!(text, "M{x:.1} {y:.1}"),
            Some((from, _)) if (from - x).abs() < 0.5 => write!(text, " L{x:.1} {y:.1}"),
            Some((from, start)) => {
                let middle = (start + y) / 2.0;
                write!(text, " C{from:.1} {middle:.1} {x:.1} {middle:.1} {x:.1} {y:.1}")
            }
        };
    }
    text
}

/// Text of XML.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
