"""Write reports of classifiers, comparisons of heads and overviews of datasets."""
