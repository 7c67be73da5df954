"""The colours of all pictures, as (red, green, blue)."""

PAPER, INK, FRAME, RULE = (255, 255, 255), (60, 60, 60), (130, 130, 130), (236, 236, 236)
GREY = (150, 150, 150)  # real points
VERMILION = (213, 94, 0)  # generated points; told apart from grey in every form of colour blindness (Okabe and Ito)
