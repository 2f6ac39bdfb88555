//! The product as a page for a browser.

use std::fmt::Write;

use super::ProductPage;
use crate::reviews::{Colour, Review};

/// Renders the page. It holds everything itself, so that one request shows one decision of the mesh.
pub(super) fn show(page: &ProductPage) -> String {
    let title = escape(&page.product.title);
    let author = escape(&page.product.author);
    let version = escape(&page.reviews.version);
    let reviews: String = page.reviews.reviews.iter().map(review).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>body{{font:1.1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem}}\
         .red{{color:#c00}}.black{{color:#000}}footer{{color:#666}}</style>\n\
         <h1>{title}</h1>\n<p>by {author}</p>\n{reviews}\
         <footer>Reviews {version}. Reload to ask again.</footer>\n</html>\n"
    )
}

fn review(review: &Review) -> String {
    let mut shown = format!("<blockquote>{}<br>", escape(&review.text));
    if let Some(rating) = review.rating {
        let class = match rating.colour {
            Colour::Black => "black",
            Colour::Red => "red",
        };
        let full = rating.stars.min(5);
        let stars: String = (0..5).map(|position| if position < full { '★' } else { '☆' }).collect();
        let label = format!("{full} of 5 stars");
        // Writing to a string does not fail.
        let _ = write!(shown, "<span class=\"{class}\" role=\"img\" aria-label=\"{label}\">{stars}</span> ");
    }
    let _ = writeln!(shown, "<cite>{}</cite></blockquote>", escape(&review.reviewer));
    shown
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::Product;
    use super::*;
    use crate::reviews::{Reviews, Stars};

    #[test]
    fn stars_are_shown_in_their_colour_and_foreign_text_is_escaped() {
        let review = |rating| Review { reviewer: "<b>".to_owned(), text: "a & b".to_owned(), rating };
        let rated = review(Some(Stars { stars: 4, colour: Colour::Red }));
        let reviews = Reviews { product: 1, version: "v3".to_owned(), reviews: vec![rated, review(None)] };
        let shown = show(&ProductPage { product: Product::first(), reviews });
        assert!(shown.contains("class=\"red\"") && shown.contains("★★★★☆"), "{shown}");
        assert!(shown.contains("a &amp; b") && shown.contains("&lt;b&gt;") && !shown.contains("<b>"));
        assert_eq!(shown.matches('★').count(), 4);
    }
}
