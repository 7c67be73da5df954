"""Where real samples come from: mixtures drawn on the fly, the digits, folders of images, arrays."""
