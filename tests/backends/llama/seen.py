"""Pictures that tiny models are shown, and a template that says where in a chat they stand."""

from tests.pictures.plain import png

RED, BLUE = png(20, 10), png(20, 10, (0, 0, 255))
PICTURE = 16
"""Tokens of a picture."""
TEMPLATE = (
    "{% for message in messages %}[{{ message.role }}] {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)
