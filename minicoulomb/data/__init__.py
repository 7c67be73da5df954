"""The real samples: mixtures that are drawn, the digits, arrays, and images in folders and archives."""
