"""Figures for a paper, made of a study alone or with its checkpoint; a file registers its own."""

from .base import Maker, PaperFigure, Request, makers

__all__ = ["Maker", "PaperFigure", "Request", "makers"]
