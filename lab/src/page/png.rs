//! SVG texts as PNG files, with a font of our own: what the machine has does not matter.

use std::error::Error;
use std::sync::Arc;

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

/// Draws SVG texts.
pub struct Painter(Options<'static>);

impl Default for Painter {
    fn default() -> Painter {
        let mut fonts = fontdb::Database::new();
        fonts.load_font_data(epaint_default_fonts::UBUNTU_LIGHT.to_vec());
        let family = fonts.faces().next().map(|face| face.families[0].0.clone());
        let family = family.expect("the font is part of the program");
        // Charts ask for any font without serifs.
        fonts.set_sans_serif_family(&family);
        Painter(Options {
            fontdb: Arc::new(fonts),
            font_family: family,
            ..Options::default()
        })
    }
}

impl Painter {
    /// The picture as a PNG file, `scale` pixels for each of the SVG's.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn png(&self, svg: &str, scale: f32) -> Result<Vec<u8>, Box<dyn Error>> {
        let tree = Tree::from_str(svg, &self.0)?;
        let size = tree.size().to_int_size();
        let size = size.scale_by(scale).ok_or("a picture without extent")?;
        let mut picture =
            Pixmap::new(size.width(), size.height()).ok_or("a picture without extent")?;
        resvg::render(
            &tree,
            Transform::from_scale(scale, scale),
            &mut picture.as_mut(),
        );
        Ok(picture.encode_png()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn svg(text: &str) -> String {
        format!(
            "<svg width=\"100\" height=\"40\" xmlns=\"http://www.w3.org/2000/svg\">\
             <rect width=\"100%\" height=\"100%\" fill=\"#FFFFFF\"/>\
             <text x=\"10\" y=\"25\" font-family=\"sans-serif\" font-size=\"16\">{text}</text></svg>"
        )
    }

    #[test]
    fn what_is_written_is_drawn_whatever_fonts_the_machine_has() {
        let painter = Painter::default();
        let dark = |text: &str| {
            let png = painter.png(&svg(text), 2.0).unwrap();
            let picture = Pixmap::decode_png(&png).unwrap();
            assert_eq!((picture.width(), picture.height()), (200, 80));
            picture.pixels().iter().filter(|p| p.red() < 128).count()
        };
        assert_eq!(dark(""), 0);
        let (little, more) = (dark("1"), dark("0.1 % \u{b1} \u{b5}s"));
        assert!(little > 0 && more > 3 * little, "{little}, {more}");
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        assert!(Painter::default().png("<svg", 1.0).is_err());
    }
}
