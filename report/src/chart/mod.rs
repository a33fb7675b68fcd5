//! Charts as SVG, drawn by plotters. Its colours are attributes of the elements; the style sheet of
//! the page replaces them where the page is dark. Over each value lies an invisible shape whose
//! title browsers show under the pointer.

mod axis;

use crate::page::escaped;
use axis::Scale;
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use std::fmt::Write;

/// Series that can be told apart, also by those who see few colours: Okabe and Ito's.
pub const SERIES: [RGBColor; 7] = [
    RGBColor(0x00, 0x72, 0xB2),
    RGBColor(0xD5, 0x5E, 0x00),
    RGBColor(0x00, 0x9E, 0x73),
    RGBColor(0xCC, 0x79, 0xA7),
    RGBColor(0xE6, 0x9F, 0x00),
    RGBColor(0x56, 0xB4, 0xE9),
    RGBColor(0x6E, 0x6E, 0x6E),
];

const INK: RGBColor = RGBColor(0x24, 0x29, 0x2F);
const GRID: RGBColor = RGBColor(0xE1, 0xE4, 0xE8);

/// Width and height in pixels; the page scales charts down.
const SIZE: (u32, u32) = (560, 320);

/// The number of a run's colour, which classes of the style sheet have too.
pub fn series(run: usize) -> usize {
    run % SERIES.len()
}

/// The colour of a run.
pub fn colour(run: usize) -> RGBColor {
    SERIES[series(run)]
}

/// As the page writes a colour: `#0072B2`.
pub fn hex(colour: RGBColor) -> String {
    format!("#{:02X}{:02X}{:02X}", colour.0, colour.1, colour.2)
}

/// A point with what is shown under the pointer.
pub struct Point {
    pub x: f64,
    pub y: f64,
    pub tooltip: String,
    /// Marked by a ring.
    pub marked: bool,
    /// From where to where the value may lie.
    pub interval: Option<(f64, f64)>,
}

/// One line of a chart.
pub struct Line {
    pub colour: RGBColor,
    pub points: Vec<Point>,
}

/// Lines over a number.
pub struct LineChart<'a> {
    /// For those who do not see it.
    pub title: &'a str,
    pub x: &'a str,
    pub y: &'a str,
    pub lines: Vec<Line>,
    /// Where thin vertical lines stand.
    pub marks: Vec<f64>,
    /// Whether the line from corner to corner is drawn, on axes with the same range.
    pub diagonal: bool,
}

/// Bars of two series over one another.
pub struct Histogram<'a> {
    pub title: &'a str,
    pub x: &'a str,
    pub y: &'a str,
    /// One more than bars.
    pub bounds: &'a [f64],
    /// Colour, name and heights.
    pub series: Vec<(RGBColor, &'a str, &'a [f64])>,
}

/// Shapes that are shown under the pointer.
#[derive(Default)]
struct Tooltips(String);

impl Tooltips {
    fn circle(&mut self, (x, y): (i32, i32), text: &str) {
        // Writing to a string cannot fail.
        let _ =
            write!(self.0, r#"<circle cx="{x}" cy="{y}" r="7" class="hit"><title>{}</title></circle>"#, escaped(text));
    }

    fn rectangle(&mut self, (left, top): (i32, i32), (right, bottom): (i32, i32), text: &str) {
        let (width, height) = ((right - left).max(1), (bottom - top).max(1));
        let _ = write!(
            self.0,
            r#"<rect x="{left}" y="{top}" width="{width}" height="{height}" class="hit"><title>{}</title></rect>"#,
            escaped(text)
        );
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Frame<'r, 'b> = ChartContext<'r, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Draws into a string; what is drawn into memory cannot fail.
fn svg(title: &str, draw: impl FnOnce(&Area<'_>) -> Tooltips) -> String {
    let mut text = String::new();
    let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
    let tooltips = draw(&root);
    root.present().expect(DRAWN);
    drop(root);
    let open = text.find("<svg").expect("plotters writes an svg element");
    let begin = open + text[open..].find('>').expect("the element has an end") + 1;
    let end = text.rfind("</svg>").expect("plotters closes the element");
    let (width, height) = SIZE;
    format!(
        r#"<svg viewBox="0 0 {width} {height}" role="img" aria-label="{title}" xmlns="http://www.w3.org/2000/svg">{}{}</svg>"#,
        text[begin..end].trim(),
        tooltips.0,
        title = escaped(title),
    )
}

const DRAWN: &str = "a chart in memory can be drawn";

/// A chart with axes and grid.
fn frame<'r, 'b>(root: &'r Area<'b>, x: &Scale, y: &Scale, labels: (&str, &str)) -> Frame<'r, 'b> {
    let mut chart = ChartBuilder::on(root)
        .margin_top(12)
        .margin_right(18)
        .margin_bottom(4)
        .margin_left(6)
        .x_label_area_size(46)
        .y_label_area_size(62)
        .build_cartesian_2d(x.range(), y.range())
        .expect(DRAWN);
    let text = ("sans-serif", 13).into_font().color(&INK);
    chart
        .configure_mesh()
        .axis_style(ShapeStyle::from(&INK).stroke_width(1))
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .x_labels(7)
        .y_labels(6)
        .x_label_formatter(&|value| x.label(*value))
        .y_label_formatter(&|value| y.label(*value))
        .label_style(text.clone())
        .axis_desc_style(text)
        .x_desc(labels.0)
        .y_desc(labels.1)
        .draw()
        .expect(DRAWN);
    chart
}

/// Lines and their points.
pub fn lines(chart: &LineChart<'_>) -> String {
    let points = || chart.lines.iter().flat_map(|line| &line.points);
    let ys = points().flat_map(|point| {
        let (low, high) = point.interval.unwrap_or((point.y, point.y));
        [low, point.y, high]
    });
    let xs = points().map(|point| point.x);
    let (x, y) = match chart.diagonal {
        true => {
            let both = Scale::of(xs.chain(ys).chain([0.0]));
            (both, both)
        }
        false => (Scale::of(xs), Scale::of(ys)),
    };
    svg(chart.title, |root| {
        let mut tooltips = Tooltips::default();
        let mut frame = frame(root, &x, &y, (chart.x, chart.y));
        for &mark in &chart.marks {
            let ends = [(mark, y.low), (mark, y.high)];
            frame.draw_series(LineSeries::new(ends, ShapeStyle::from(&GRID).stroke_width(2))).expect(DRAWN);
        }
        if chart.diagonal {
            let ends = [(x.low, x.low), (x.high, x.high)];
            let dashes = DashedLineSeries::new(ends, 6, 4, ShapeStyle::from(&SERIES[6]).stroke_width(1));
            frame.draw_series(dashes).expect(DRAWN);
        }
        for Line { colour, points } in &chart.lines {
            let path = points.iter().map(|point| (point.x, point.y));
            frame.draw_series(LineSeries::new(path, ShapeStyle::from(colour).stroke_width(2))).expect(DRAWN);
            let bars = points.iter().filter_map(|point| {
                let (low, high) = point.interval?;
                Some(ErrorBar::new_vertical(point.x, low, point.y, high, ShapeStyle::from(colour).stroke_width(1), 6))
            });
            frame.draw_series(bars).expect(DRAWN);
            // The points of a dense line are not drawn one by one.
            if points.len() <= 60 {
                let dots = points.iter().map(|p| Circle::new((p.x, p.y), 3, ShapeStyle::from(colour).filled()));
                frame.draw_series(dots).expect(DRAWN);
            }
            let rings = points.iter().filter(|point| point.marked);
            let rings = rings.map(|p| Circle::new((p.x, p.y), 7, ShapeStyle::from(colour).stroke_width(2)));
            frame.draw_series(rings).expect(DRAWN);
            for point in points {
                tooltips.circle(frame.plotting_area().map_coordinate(&(point.x, point.y)), &point.tooltip);
            }
        }
        tooltips
    })
}

/// Width of the legend of a picture, height of its title, and from line to line of the legend.
const LEGEND: u32 = 240;
const TITLE: u32 = 34;
const LEGEND_LINE: u32 = 22;

/// Lines as a picture that stands alone: on white, with its title above, and the name of each line,
/// in their order, beside it.
pub fn picture(chart: &LineChart<'_>, names: &[&str]) -> String {
    let (width, height) = SIZE;
    let drawn = lines(chart);
    let inner = drawn.strip_prefix("<svg").expect("a chart is an svg element");
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\">\n\
         <style>.hit{{fill:transparent}}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"16\" y=\"24\" font-size=\"17\" fill=\"{INK_HEX}\">{}</text>\n\
         <svg y=\"{TITLE}\" width=\"{width}\" height=\"{height}\"{inner}\n",
        width + LEGEND,
        height + TITLE,
        escaped(chart.title),
        INK_HEX = hex(INK),
    );
    for (k, (line, name)) in chart.lines.iter().zip(names).enumerate() {
        let y = TITLE + LEGEND_LINE * (k as u32 + 1);
        let (left, right) = (width + 4, width + 24);
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "<path d=\"M{left} {y}H{right}\" stroke=\"{}\" stroke-width=\"2\"/>\
             <text x=\"{}\" y=\"{}\" font-size=\"13\" fill=\"{}\">{}</text>",
            hex(line.colour),
            right + 8,
            y + 4,
            hex(INK),
            escaped(name)
        );
    }
    text + "</svg>\n"
}

/// Bars of several series over one another.
pub fn histogram(chart: &Histogram<'_>) -> String {
    let x = Scale::tight(chart.bounds.iter().copied());
    let y = Scale::of(chart.series.iter().flat_map(|series| series.2).copied().chain([0.0]));
    svg(chart.title, |root| {
        let mut tooltips = Tooltips::default();
        let mut frame = frame(root, &x, &y, (chart.x, chart.y));
        for (colour, _, heights) in &chart.series {
            let bars = heights.iter().zip(chart.bounds.windows(2)).map(|(&height, bounds)| {
                Rectangle::new([(bounds[0], 0.0), (bounds[1], height)], colour.mix(0.35).filled())
            });
            frame.draw_series(bars).expect(DRAWN);
            let outline = heights.iter().zip(chart.bounds.windows(2)).flat_map(|(&h, b)| [(b[0], h), (b[1], h)]);
            frame.draw_series(LineSeries::new(outline, ShapeStyle::from(colour).stroke_width(2))).expect(DRAWN);
        }
        for (k, bounds) in chart.bounds.windows(2).enumerate() {
            let values = chart.series.iter().map(|(_, name, heights)| format!("{name}: {:.2} %", 100.0 * heights[k]));
            let text =
                format!("{} {:.2} to {:.2}\n{}", chart.x, bounds[0], bounds[1], values.collect::<Vec<_>>().join("\n"));
            let area = frame.plotting_area();
            let corners = ((bounds[0], y.high), (bounds[1], y.low));
            tooltips.rectangle(area.map_coordinate(&corners.0), area.map_coordinate(&corners.1), &text);
        }
        tooltips
    })
}

/// Horizontal bars with names and shares, as HTML: their text is as long as it is.
pub fn share_bar(share: f64) -> String {
    format!(r#"<span class="bar" style="width:{:.1}%"></span>"#, 100.0 * share.clamp(0.0, 1.0))
}

/// An interval on a line from `low` to `high`, with the value of all rows as a tick.
pub fn interval_bar(value: f64, interval: Option<(f64, f64)>, all: Option<f64>, (low, high): (f64, f64)) -> String {
    let place = |value: f64| 4.0 + 152.0 * ((value - low) / (high - low).max(f64::MIN_POSITIVE)).clamp(0.0, 1.0);
    let mut text = String::from(r#"<svg class="interval" viewBox="0 0 160 16" aria-hidden="true">"#);
    if let Some(all) = all {
        let x = place(all);
        let _ = write!(text, r#"<line x1="{x:.1}" x2="{x:.1}" y1="0" y2="16" class="all"/>"#);
    }
    if let Some((low, high)) = interval {
        let (a, b) = (place(low), place(high));
        let _ = write!(text, r#"<line x1="{a:.1}" x2="{b:.1}" y1="8" y2="8" class="range"/>"#);
    }
    let _ = write!(text, r#"<circle cx="{:.1}" cy="8" r="3.5" class="dot"/></svg>"#, place(value));
    text
}
